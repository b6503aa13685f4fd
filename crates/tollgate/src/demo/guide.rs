//! What the demo prints: lines that work as they stand.

use super::seed::MODEL_ENDPOINT;

pub(super) fn text(url: &str, token: &str, simulator: &str, data: &str, model: bool) -> String {
    let real = if model {
        format!(
            "\n  a real small model answers on the endpoint {MODEL_ENDPOINT}: put its name in place of demo-chat\n"
        )
    } else {
        String::new()
    };
    format!(
        r#"
tollgate is serving on {url}
  token      {token}
  data       {data}
  providers  simulated on {simulator} (what it was sent: {simulator}/_ledger)
{real}
ask with curl:

  curl -s {url}/serving-endpoints/demo-chat/invocations \
    -H "Authorization: Bearer {token}" \
    -H "Content-Type: application/json" \
    -d '{{"messages": [{{"role": "user", "content": "hello"}}]}}'

ask with Python (pip install openai):

  from openai import OpenAI
  client = OpenAI(api_key="{token}", base_url="{url}/serving-endpoints")
  for chunk in client.chat.completions.create(
      model="demo-claude", messages=[{{"role": "user", "content": "hello"}}], stream=True
  ):
      print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="")

try next:

  endpoints   demo-chat, demo-claude, demo-split (80/20), demo-completions, demo-embeddings
  list them   curl -s {url}/api/2.0/serving-endpoints -H "Authorization: Bearer {token}"
  Databricks  export DATABRICKS_HOST={url} DATABRICKS_TOKEN={token}
  metrics     curl -s {url}/metrics
  stop        ctrl-C
"#
    )
}
