"""The Terraform provider, unmodified, under OpenTofu: apply, an empty plan, change, an empty plan, import, destroy.

TOFU_BIN and PROVIDER_BIN are the programs. The provider is taken from its folder (`dev_overrides`): nothing is downloaded.
"""
import os
import subprocess
from pathlib import Path

from harness import ENDPOINTS, HOST, PREFIX, PROVIDER_KEY, TOKEN, UPSTREAM, ask, call, check, finish, get

HOME = Path(os.environ["HOME"])
FOLDER = HOME / "terraform"
COMMAND_SECONDS = 60
SCOPE, NAME, GROUP = f"{PREFIX}-keys", f"{PREFIX}-chat", f"{PREFIX}-readers"
SCIM = "/api/2.0/preview/scim/v2"
CHANGED = ("-var", "model=echo-2", "-var", "team=b", "-var", "level=CAN_MANAGE")

RESOURCES = """
terraform {
  required_providers { databricks = { source = "databricks/databricks" } }
}
provider "databricks" {}
variable "model" { default = "echo" }
variable "team" { default = "a" }
variable "level" { default = "CAN_QUERY" }

resource "databricks_secret_scope" "keys" { name = "%(scope)s" }
resource "databricks_secret" "openai" {
  scope        = databricks_secret_scope.keys.name
  key          = "openai"
  string_value = "%(key)s"
}
resource "databricks_secret_acl" "readers" {
  scope      = databricks_secret_scope.keys.name
  principal  = databricks_group.readers.display_name
  permission = "READ"
}
resource "databricks_group" "readers" {
  display_name     = "%(group)s"
  workspace_access = var.team == "b"
}
resource "databricks_service_principal" "robot" { display_name = "%(group)s-robot" }
resource "databricks_group_member" "robot" {
  group_id  = databricks_group.readers.id
  member_id = databricks_service_principal.robot.id
}
resource "databricks_obo_token" "robot" {
  application_id   = databricks_service_principal.robot.application_id
  comment          = "terraform"
  lifetime_seconds = 3600
}
resource "databricks_model_serving" "chat" {
  name        = "%(name)s"
  description = "made by Terraform"
  config {
    served_entities {
      name = "main"
      external_model {
        name     = var.model
        provider = "openai"
        task     = "llm/v1/chat"
        openai_config {
          openai_api_key  = "{{secrets/${databricks_secret.openai.scope}/${databricks_secret.openai.key}}}"
          openai_api_base = "%(upstream)s/v1"
        }
      }
    }
    served_entities {
      name = "plain"
      external_model {
        name     = "echo"
        provider = "openai"
        task     = "llm/v1/chat"
        openai_config {
          openai_api_key_plaintext = "%(key)s"
          openai_api_base          = "%(upstream)s/v1"
        }
      }
    }
    traffic_config {
      routes {
        served_model_name  = "main"
        traffic_percentage = 90
      }
      routes {
        served_model_name  = "plain"
        traffic_percentage = 10
      }
    }
  }
  ai_gateway {
    usage_tracking_config { enabled = true }
    fallback_config { enabled = true }
    rate_limits {
      calls          = 100
      key            = "user"
      renewal_period = "minute"
    }
  }
  tags {
    key   = "team"
    value = var.team
  }
}
resource "databricks_permissions" "chat" {
  serving_endpoint_id = databricks_model_serving.chat.serving_endpoint_id
  access_control {
    group_name       = databricks_group.readers.display_name
    permission_level = var.level
  }
}
"""

FOLDER.mkdir()
(FOLDER / "main.tf").write_text(RESOURCES % {"scope": SCOPE, "key": PROVIDER_KEY, "group": GROUP, "name": NAME, "upstream": UPSTREAM})
(HOME / "tofu.rc").write_text('provider_installation {\n  dev_overrides { "databricks/databricks" = "%s" }\n}\n' % Path(os.environ["PROVIDER_BIN"]).parent)


def tofu(*words, codes=(0,)):
    environment = {"PATH": os.environ["PATH"], "HOME": str(HOME), "TMPDIR": str(HOME), "DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": TOKEN,
                   "DATABRICKS_CONFIG_FILE": "/nonexistent", "TF_CLI_CONFIG_FILE": str(HOME / "tofu.rc"), "TF_IN_AUTOMATION": "1", "NO_PROXY": "127.0.0.1"}
    child = subprocess.run([os.environ["TOFU_BIN"], *words, "-no-color"], cwd=FOLDER, env=environment, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS)
    said = child.stdout + child.stderr
    assert child.returncode in codes, f"tofu {' '.join(words)}: exit code {child.returncode}: {said[-1500:]}"
    return child.returncode, said


def empty_plan(*variables):
    """A refresh finds nothing to do: exit code 2 would be a difference."""
    _, said = tofu("plan", "-input=false", "-detailed-exitcode", *variables)
    assert "No changes" in said, said[-1500:]


def endpoint():
    return get(f"{ENDPOINTS}/{NAME}").ok()


def grants():
    found = get(f"/api/2.0/permissions/serving-endpoints/{endpoint()['id']}").ok()["access_control_list"]
    return {(e["group_name"], e["all_permissions"][0]["permission_level"]) for e in found if e.get("group_name") == GROUP}


@check("apply makes scope, secret, access control list, group, service principal, token, endpoint and permissions")
def apply():
    _, said = tofu("apply", "-auto-approve", "-input=false")
    assert "9 added, 0 changed, 0 destroyed" in said, said[-500:]
    assert PROVIDER_KEY not in said
    assert endpoint()["tags"] == [{"key": "team", "value": "a"}] and grants() == {(GROUP, "CAN_QUERY")}
    assert ask(NAME).ok()["choices"][0]["message"]["content"] == "echo: hello"


@check("the plan after it is empty")
def plan():
    empty_plan()


@check("a change of config, tags, group and permissions is applied in place, and the plan after it is empty")
def change():
    _, said = tofu("apply", "-auto-approve", "-input=false", *CHANGED)
    assert "0 added, 3 changed, 0 destroyed" in said, said[-800:]
    assert endpoint()["config"]["served_entities"][0]["external_model"]["name"] == "echo-2" and endpoint()["config"]["config_version"] == 2
    assert endpoint()["tags"] == [{"key": "team", "value": "b"}] and grants() == {(GROUP, "CAN_MANAGE")}
    empty_plan(*CHANGED)


@check("what was changed behind Terraform's back is found and put right")
def drift():
    call("PATCH", f"{ENDPOINTS}/{NAME}/tags", {"add_tags": [{"key": "team", "value": "x"}]}).ok()
    code, said = tofu("plan", "-input=false", "-detailed-exitcode", *CHANGED, codes=(0, 2))
    assert code == 2 and "1 to change" in said, said[-800:]
    tofu("apply", "-auto-approve", "-input=false", *CHANGED)
    assert endpoint()["tags"] == [{"key": "team", "value": "b"}]


@check("a scope that is there already is imported, and the plan after it is empty")
def imported():
    tofu("state", "rm", "databricks_secret_scope.keys")
    tofu("import", *CHANGED, "databricks_secret_scope.keys", SCOPE)
    empty_plan(*CHANGED)


@check("destroy leaves nothing")
def destroy():
    _, said = tofu("destroy", "-auto-approve", "-input=false", *CHANGED)
    assert "9 destroyed" in said, said[-500:]
    get(f"{ENDPOINTS}/{NAME}").refused(404, "RESOURCE_DOES_NOT_EXIST")
    assert SCOPE not in [s["name"] for s in get("/api/2.0/secrets/scopes/list").ok()["scopes"]]
    for kind in ("Groups", "ServicePrincipals"):
        assert GROUP not in str(get(f"{SCIM}/{kind}").json)


finish()
