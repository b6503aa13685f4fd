#!/usr/bin/env python3
"""Makes labelled.jsonl: texts, and where in them which personal data is. `pip install faker==40.63.0`, then `python3 make.py`.

The positives are faker's, in sentences written here; a third of the negatives are lines of this repository as it
was when the set was frozen, the others near misses: numbers that look like personal data and are none. The set is not made again
when recognisers change: it is what they are measured against.
"""
import json
import pathlib
import random
import re
import subprocess

from faker import Faker

SEED = 20261127
EACH = 300
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
fake = Faker("en_US")
Faker.seed(SEED)
draw = random.Random(SEED)

EMAIL, PHONE, CARD, SSN = "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "US_SSN"
ACCOUNT, ROUTING = "US_BANK_NUMBER", "ABA_ROUTING_NUMBER"

SENTENCES = {
    EMAIL: ["Please write to {0} before Friday.", "{0} asked for a refund twice.", "cc: {0}, and the legal team", "From: {1} <{0}>",
            '{{"customer": {{"name": "{1}", "email": "{0}"}}}}', "Her address is {0}.", "login={0}&next=/home", "contact ({0}) about the invoice",
            "mailto:{0}?subject=hello", "{1};{0};active", "I used\n{0}\nto sign up", "send it to {0}/{1} please"],
    PHONE: ["Call me at {0} after five.", "My phone number is {0}.", "Tel: {0}", "{1}'s cell is {0}, the office is closed.",
            '{{"name": "{1}", "phone": "{0}"}}', "Text {0} to confirm.", "You can reach {1} on {0}.", "mobile {0} (personal)",
            "Fax {0}\nAttn: {1}", "phone={0}", "Contact: {1}, {0}", "dial {0} and ask for {1}"],
    CARD: ["My card number is {0}, charge it.", "Visa ending soon: {0} exp 09/29", "pay with {0} please", '{{"card": "{0}", "cvv": "{2}"}}',
           "{1} gave credit card {0} over the phone", "CC {0}", "card_number={0}", "Amex/Visa: {0}", "the debit card ({0}) was declined",
           "Charge to card {0}.\nThanks, {1}", "payment method: credit card {0}", "I lost my card, it was {0}"],
    SSN: ["My SSN is {0}.", "social security number {0}", "SSN: {0}, DOB: {3}", '{{"ssn": "{0}"}}', "{1}, {0}, hired {3}", "The applicant ({0}) signed.",
          "tax id of {1} is {0}", "ssn={0}", "Employee {1} / {0}", "W-2 for {0}", "his social is {0}", "{0} belongs to {1}"],
    ACCOUNT: ["Deposit to checking account {0}.", "account number: {0}", "My bank account number is {0}", "Acct # {0}", '{{"account_number": "{0}"}}',
              "wire it to savings account {0}", "bank acct {0} in {1}'s name", "Account No. {0} at First Bank", "transfer from account {0} at my bank",
              "direct deposit, account {0}", "checking: {0}", "The bank account is {0}, under {1}."],
}
ROUTED = ["Routing number {0}, account number {1}.", "ABA {0} / acct {1}", "routing: {0}\naccount: {1}", '{{"routing_number": "{0}", "account_number": "{1}"}}']
NEAR = ["Order {0} has shipped.", "order_id={0}", "see ticket {0}", "build {0} failed", "Tracking number {0}", "invoice no. {0} is due", '{{"id": "{0}", "ok": true}}',
        "part {0} is out of stock", "{0}", "commit {0} broke it", "row {0} of the table", "version {0} is out", "item {0}, quantity 3", "ref {0}"]


def card():
    number = fake.credit_card_number()
    if len(number) == 16 and draw.random() < 0.5:
        return draw.choice(" -").join(number[at:at + 4] for at in range(0, 16, 4))
    if len(number) == 15 and draw.random() < 0.5:
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    return number


VALUES = {
    EMAIL: lambda: draw.choice([fake.email, fake.company_email, fake.free_email, fake.ascii_safe_email])(),
    PHONE: fake.phone_number,
    CARD: card,
    SSN: fake.ssn,
    ACCOUNT: lambda: fake.numerify("#" * draw.randint(8, 12)),
}


def labelled(sentence, values, entities):
    """Fills the sentence and finds the values in it."""
    text = sentence.format(*values)
    spans = []
    for value, entity in zip(values, entities):
        at = text.index(value)
        spans.append([len(text[:at].encode()), len(text[:at + len(value)].encode()), entity])
    return {"text": text, "spans": spans}


def positives():
    for entity, sentences in SENTENCES.items():
        for at in range(EACH):
            values = [VALUES[entity](), fake.name(), fake.credit_card_security_code(), fake.date()]
            yield labelled(sentences[at % len(sentences)], values, [entity])
    for at in range(60):
        yield labelled(ROUTED[at % len(ROUTED)], [fake.aba(), fake.numerify("#" * 10)], [ROUTING, ACCOUNT])


def near_misses():
    kinds = [
        lambda: fake.numerify("###-#######-#######"), lambda: fake.uuid4(), lambda: fake.sha1(), lambda: fake.md5(), lambda: fake.sha256(),
        lambda: fake.isbn13(), lambda: fake.isbn10(), lambda: fake.ean13(), lambda: fake.date(), lambda: fake.iso8601(),
        lambda: f"v{draw.randint(0, 40)}.{draw.randint(0, 300)}.{draw.randint(0, 9999)}", lambda: f"{draw.randint(1, 300)}.{draw.randint(1, 300)}.{draw.randint(1000, 9999)}",
        lambda: str(draw.randint(1_500_000_000, 1_900_000_000)), lambda: str(draw.randint(1_500_000_000_000, 1_900_000_000_000)),
        lambda: "1Z" + fake.bothify("###???########").upper(), lambda: fake.numerify("9400############"), lambda: fake.numerify("#########"),
        lambda: fake.numerify("##########"), lambda: fake.numerify("####-####-####"), lambda: fake.numerify("##-#######"), lambda: fake.numerify("###-##-###"),
        lambda: fake.numerify("SKU-###-##-####"), lambda: fake.numerify("###-###-####-##"), lambda: fake.ipv4(), lambda: fake.mac_address(),
        lambda: fake.numerify("$##,###,###.##"), lambda: f"{draw.uniform(-90, 90):.7f},{draw.uniform(-180, 180):.7f}", lambda: fake.hex_color(),
        lambda: fake.numerify("############"), lambda: f"icon@{draw.randint(2, 3)}x.png", lambda: f"package@{draw.randint(1, 9)}.{draw.randint(0, 20)}.{draw.randint(0, 20)}",
        lambda: fake.zipcode_plus4(), lambda: fake.license_plate(), lambda: str(draw.randint(10**15, 10**16 - 1)), lambda: fake.numerify("9##-##-####-#"),
    ]
    for at in range(1400):
        yield {"text": draw.choice(NEAR).format(kinds[at % len(kinds)]()), "spans": []}


def lines():
    """Lines of this repository with digits or an @ that hold no personal data: those with an address are left out."""
    files = subprocess.run(["git", "ls-files", "*.md", "*.rs", "*.toml", "*.py", "Cargo.lock"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = []
    for name in files:
        if (ROOT / name).is_relative_to(HERE):
            continue
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if re.search(r"\d{3}|@", line) and not re.search(r"[\w.]@[\w.-]+\.[a-z]{2,}", line) and 12 <= len(line) <= 300:
                found.append(line.strip())
    return [{"text": text, "spans": []} for text in draw.sample(sorted(set(found)), 700)]


with open(HERE / "labelled.jsonl", "w", encoding="utf-8") as out:
    for row in [*positives(), *near_misses(), *lines()]:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
