//! Rows of `<prefix>_payload`. There is one for each call of which the bodies are kept, and they are the longest: they are
//! made into Arrow's columns one by one, without a copy of their texts before.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, SchemaRef};
use journal::{Admission, Call, Captured, Payload, Settlement};

use super::{EntityIds, Row, day, micros, status, whole};
use crate::stream;

/// What was asked and what was answered.
#[derive(Debug)]
pub(crate) struct PayloadRow {
    call: Arc<Call>,
    /// The answer, where it was put together from a stream.
    aggregated: Option<String>,
    served_entity_id: Option<Arc<str>>,
}

impl PayloadRow {
    pub(super) fn new<'a>(call: &'a Arc<Call>, ids: &mut EntityIds<'a>) -> Self {
        let (admission, settlement) = (&call.admission, &call.settlement);
        // One that the client left is a stream as well, as far as it came.
        let is_stream = matches!(settlement.status, 200 | 499) && admission.stream;
        let response = settlement.payload.as_ref().and_then(|payload| whole_of(&payload.response));
        let aggregated = response.filter(|_| is_stream).map(stream::aggregate);
        let served_entity_id = ids.of(call);
        Self { call: Arc::clone(call), aggregated, served_entity_id }
    }

    fn request(&self) -> Option<&[u8]> {
        whole_of(&self.call.settlement.payload.as_ref()?.request)
    }

    fn response(&self) -> Option<&[u8]> {
        match &self.aggregated {
            Some(text) => Some(text.as_bytes()),
            None => whole_of(&self.call.settlement.payload.as_ref()?.response),
        }
    }

    fn logging_error_codes(&self) -> impl Iterator<Item = &'static str> {
        let payload = self.call.settlement.payload.as_deref();
        let bodies = payload.map(|Payload { request, response }| {
            let codes =
                (code(request, "MAX_REQUEST_SIZE_EXCEEDED"), code(response, "MAX_RESPONSE_SIZE_EXCEEDED"));
            // Of both it is told once.
            [codes.0, codes.1.filter(|code| codes.0 != Some(code))]
        });
        bodies.into_iter().flatten().flatten()
    }
}

impl Row for PayloadRow {
    fn day(&self) -> Option<i32> {
        Some(day(self.call.admission.received_at))
    }

    fn bytes(&self) -> usize {
        [self.request(), self.response()].into_iter().flatten().map(<[u8]>::len).sum()
    }

    fn batch(rows: &[Self], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let columns = schema.fields().iter().map(|field| column(rows, field));
        RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
    }
}

fn column(rows: &[PayloadRow], field: &Field) -> Result<ArrayRef, ArrowError> {
    let asked =
        |of: fn(&Admission) -> Option<&str>| -> ArrayRef { strings(rows, |row| of(&row.call.admission)) };
    let answered =
        |of: fn(&Settlement) -> Option<&str>| -> ArrayRef { strings(rows, |row| of(&row.call.settlement)) };
    let number = |of: fn(&Call) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(&row.call)).collect::<Int64Array>())
    };
    Ok(match field.name().as_str() {
        "databricks_request_id" => asked(|call| Some(&call.request_id.0)),
        "request_date" => Arc::new(rows.iter().map(Row::day).collect::<Date32Array>()),
        "client_request_id" => asked(|call| call.client_request_id.as_deref()),
        "request_time" => times(rows, field),
        "status_code" => Arc::new(rows.iter().map(|row| status(&row.call)).collect::<Int32Array>()),
        "sampling_fraction" => Arc::new(Float64Array::from(vec![1.0; rows.len()])),
        "execution_duration_ms" => number(execution_ms),
        "request" => texts(rows, PayloadRow::request),
        "response" => texts(rows, PayloadRow::response),
        "logging_error_codes" => codes(rows, field)?,
        "served_entity_id" => strings(rows, |row| row.served_entity_id.as_deref()),
        "requester" => asked(|call| Some(&call.requester)),
        "endpoint_name" => asked(|call| Some(&call.endpoint)),
        "served_entity_name" => answered(|call| call.entity.as_deref()),
        "outcome" => answered(|call| Some(call.outcome.as_str())),
        "request_tags" => tags(rows, field)?,
        "path" => asked(|call| Some(&call.path)),
        "time_to_first_byte_ms" => number(|call| call.settlement.first_byte_ms.map(whole)),
        "destination_model" => answered(|call| call.model.as_deref()),
        other => return Err(ArrowError::SchemaError(format!("there is no column {other:?} of bodies"))),
    })
}

fn times(rows: &[PayloadRow], field: &Field) -> ArrayRef {
    let times = rows.iter().map(|row| Some(micros(row.call.admission.received_at)));
    let zone = match field.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone_opt(zone))
}

/// Bytes of most of them: ids are the longest.
const USUAL: usize = 36;

fn strings<'a>(rows: &'a [PayloadRow], of: impl Fn(&'a PayloadRow) -> Option<&'a str>) -> ArrayRef {
    let mut column = StringBuilder::with_capacity(rows.len(), rows.len() * USUAL);
    rows.iter().for_each(|row| column.append_option(of(row)));
    Arc::new(column.finish())
}

/// That they are texts is seen of all at once; only where one is none they are looked at one by one.
fn texts(rows: &[PayloadRow], of: fn(&PayloadRow) -> Option<&[u8]>) -> ArrayRef {
    let bytes = rows.iter().filter_map(of).map(<[u8]>::len).sum();
    let mut column = BinaryBuilder::with_capacity(rows.len(), bytes);
    rows.iter().for_each(|row| column.append_option(of(row)));
    let lossy = |_| rows.iter().map(|row| of(row).map(String::from_utf8_lossy)).collect();
    Arc::new(StringArray::try_from_binary(column.finish()).unwrap_or_else(lossy))
}

fn codes(rows: &[PayloadRow], field: &Field) -> Result<ArrayRef, ArrowError> {
    let DataType::List(element) = field.data_type() else { return Err(other_type(field)) };
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(element));
    for row in rows {
        row.logging_error_codes().for_each(|code| lists.values().append_value(code));
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn tags(rows: &[PayloadRow], field: &Field) -> Result<ArrayRef, ArrowError> {
    let DataType::Map(entries, _) = field.data_type() else { return Err(other_type(field)) };
    let DataType::Struct(pair) = entries.data_type() else { return Err(other_type(field)) };
    let [key, value] = &**pair else { return Err(other_type(field)) };
    let name = |field: &FieldRef| field.name().clone();
    let names = MapFieldNames { entry: entries.name().clone(), key: name(key), value: name(value) };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_keys_field(Arc::clone(key))
        .with_values_field(Arc::clone(value));
    for row in rows {
        for (key, value) in &row.call.admission.request_tags {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

fn other_type(field: &Field) -> ArrowError {
    ArrowError::SchemaError(format!("the column {:?} is of another type than it was made", field.name()))
}

fn whole_of(body: &Captured) -> Option<&[u8]> {
    match body {
        Captured::Whole(bytes) => Some(bytes),
        Captured::Absent | Captured::TooLong | Captured::Dropped => None,
    }
}

/// Why a body is not there that there was.
fn code(body: &Captured, too_long: &'static str) -> Option<&'static str> {
    match body {
        Captured::Absent | Captured::Whole(_) => None,
        Captured::TooLong => Some(too_long),
        Captured::Dropped => Some("JOURNAL_FULL"),
    }
}

/// How long the model took: a stream's from the start of the attempt to its end.
fn execution_ms(call: &Call) -> Option<i64> {
    let last = call.settlement.attempts.last()?;
    let streams = call.admission.stream && last.status.is_some_and(|status| status < 400);
    let to_the_end = (call.settlement.duration_ms - last.began_ms).max(last.duration_ms);
    Some(whole(if streams { to_the_end } else { last.duration_ms }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
    use bytes::Bytes;
    use journal::{Attempt, Outcome, RequestId};

    use deltalake_core::kernel::StructType;
    use deltalake_core::kernel::engine::arrow_conversion::TryIntoArrow;

    use super::super::served_entity_id;
    use super::*;
    use crate::columns::Kind;

    fn schema() -> SchemaRef {
        let columns = StructType::try_new(Kind::Payload.columns()).unwrap();
        let schema: arrow_schema::Schema = (&columns).try_into_arrow().unwrap();
        schema.into()
    }

    fn call(id: &str, tags: &[(&str, &str)], status: u16, payload: Option<Payload>) -> Arc<Call> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let admission = Admission {
            request_id: RequestId(id.into()),
            received_at: 86_400_000 * 3 + 5,
            endpoint: "chat".into(),
            endpoint_id: "chat's id".into(),
            config_version: 2,
            requester: "ann".into(),
            client_request_id: Some(format!("client's {id}")),
            request_tags: tags.collect::<BTreeMap<_, _>>(),
            path: "/p".to_owned(),
            ..Admission::default()
        };
        let attempt = Attempt {
            entity: "e".into(),
            started_at: 7,
            status: Some(200),
            duration_ms: 12.6,
            began_ms: 0.5,
            fault: None,
            upstream: None,
        };
        let settlement = Settlement {
            outcome: Outcome::Completed,
            status,
            entity: payload.as_ref().map(|_| "e".into()),
            model: Some("m".to_owned()),
            provider: Some("p".to_owned()),
            attempts: vec![attempt],
            usage: None,
            cost: None,
            duration_ms: 13.0,
            first_byte_ms: Some(11.4),
            bytes_out: 0,
            content_type: None,
            output_characters: None,
            guards: Vec::new(),
            payload: payload.map(Box::new),
            response: None,
        };
        Arc::new(Call { admission, settlement })
    }

    fn batch(calls: &[Arc<Call>], schema: &SchemaRef) -> RecordBatch {
        let mut ids = EntityIds::default();
        let rows: Vec<_> = calls.iter().map(|call| PayloadRow::new(call, &mut ids)).collect();
        PayloadRow::batch(&rows, schema).unwrap()
    }

    /// Three calls: one whose bodies are not text and too long, one with both, one with none.
    fn calls() -> [Arc<Call>; 3] {
        let whole = |text: &'static [u8]| Captured::Whole(Bytes::from_static(text));
        let cut = Payload { request: whole(b"{\"a\":\"\xff\"}"), response: Captured::TooLong };
        let kept = Payload { request: whole(b"{}"), response: whole("ä".as_bytes()) };
        let dropped = Payload { request: Captured::Dropped, response: Captured::Dropped };
        let last = call("3", &[], 0, Some(dropped));
        let last = Call {
            settlement: Settlement { entity: None, ..last.settlement.clone() },
            admission: last.admission.clone(),
        };
        let tags = [("team", "x"), ("k", "")];
        [call("1", &tags, 200, Some(cut)), call("2", &[], 201, Some(kept)), Arc::new(last)]
    }

    #[test]
    fn every_text_is_in_its_column() {
        let rows = batch(&calls(), &schema());
        let some = |text: &str| Some(text.to_owned());
        let entity = served_entity_id("chat's id", 2, "e");
        let all = |text: &str| vec![some(text), some(text), some(text)];
        let expected = [
            ("databricks_request_id", vec![some("1"), some("2"), some("3")]),
            ("client_request_id", vec![some("client's 1"), some("client's 2"), some("client's 3")]),
            ("request", vec![some("{\"a\":\"\u{fffd}\"}"), some("{}"), None]),
            ("response", vec![None, some("ä"), None]),
            ("served_entity_id", vec![some(&entity), some(&entity), None]),
            ("requester", all("ann")),
            ("endpoint_name", all("chat")),
            ("served_entity_name", vec![some("e"), some("e"), None]),
            ("outcome", all("completed")),
            ("path", all("/p")),
            ("destination_model", all("m")),
        ];
        for (name, texts) in &expected {
            let read = rows[*name].as_string::<i32>().iter().map(|text| text.map(str::to_owned));
            assert_eq!(read.collect::<Vec<_>>(), *texts, "{name}");
        }
        let are_texts = |field: &&FieldRef| *field.data_type() == DataType::Utf8;
        assert_eq!(rows.schema().fields().iter().filter(are_texts).count(), expected.len());
    }

    #[test]
    fn every_number_list_and_map_is_in_its_column() {
        let rows = batch(&calls(), &schema());
        assert_eq!(rows["request_date"].as_primitive::<Date32Type>().values(), &[3; 3]);
        let times = rows["request_time"].as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.values(), &[(86_400_000 * 3 + 5) * 1000; 3]);
        let status = rows["status_code"].as_primitive::<Int32Type>();
        assert_eq!(status.iter().collect::<Vec<_>>(), [Some(200), Some(201), None]);
        assert_eq!(rows["sampling_fraction"].as_primitive::<Float64Type>().values(), &[1.0; 3]);
        assert_eq!(rows["execution_duration_ms"].as_primitive::<Int64Type>().values(), &[13; 3]);
        assert_eq!(rows["time_to_first_byte_ms"].as_primitive::<Int64Type>().values(), &[11; 3]);
        let codes = rows["logging_error_codes"].as_list::<i32>();
        let codes = |at: usize| {
            codes.value(at).as_string::<i32>().iter().map(|code| code.unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(codes(0), ["MAX_RESPONSE_SIZE_EXCEEDED"]);
        assert_eq!((codes(1), codes(2)), (Vec::new(), vec!["JOURNAL_FULL".to_owned()]));
        let tags = rows["request_tags"].as_map();
        let pairs = tags.value(0);
        let half = |at: usize| pairs.column(at).as_string::<i32>().iter().collect::<Vec<_>>();
        assert_eq!((half(0), half(1)), (vec![Some("k"), Some("team")], vec![Some(""), Some("x")]));
        assert_eq!(tags.value_length(1), 0);
    }

    #[test]
    fn the_columns_are_in_the_order_of_the_table() {
        let schema = schema();
        let back: Vec<_> = schema.fields().iter().rev().cloned().collect();
        let back = SchemaRef::new(arrow_schema::Schema::new(back));
        let rows = batch(&[call("1", &[], 200, None)], &back);
        assert_eq!(rows.schema(), back);
        assert_eq!(rows["databricks_request_id"].as_string::<i32>().value(0), "1");
    }

    /// Two halves of a rune are one in the column's bytes, and two pieces that are no texts.
    #[test]
    fn a_rune_that_two_rows_share_is_no_text() {
        let half = |id: &str, byte: &'static [u8]| {
            let request = Captured::Whole(Bytes::from_static(byte));
            call(id, &[], 200, Some(Payload { request, response: Captured::Absent }))
        };
        let rows = batch(&[half("1", b"\xc3"), half("2", b"\xa4")], &schema());
        let read = rows["request"].as_string::<i32>().iter().collect::<Vec<_>>();
        assert_eq!(read, [Some("\u{fffd}"); 2]);
    }
}
