"""The endpoints of an agent: since which version, and with or without a header.

Source: ob/agent/api/agent_route.go, 4.5.0.0, and its history.
"""

from typing import Final

from obscale.sandbox.answers import agent as agent_answers
from obscale.sandbox.answers import cluster as cluster_answers
from obscale.sandbox.answers import removal, replicas
from obscale.sandbox.answers import task as task_answers
from obscale.sandbox.answers import tenant as tenant_answers
from obscale.sandbox.answers.scale_out import scale_out
from obscale.sandbox.answers.settings import set_parameters
from obscale.sandbox.api import Endpoint

ENDPOINTS: Final = (
    Endpoint("GET", "/time", agent_answers.time, is_open=True),
    Endpoint("GET", "/info", agent_answers.info, is_open=True),
    Endpoint("GET", "/git-info", agent_answers.git_info, is_open=True),
    Endpoint("GET", "/secret", agent_answers.secret, is_open=True),
    Endpoint("GET", "/status", agent_answers.status, is_open=True),
    Endpoint("POST", "/status", agent_answers.status, is_open=True),
    Endpoint("GET", "/agent/host-info", agent_answers.host_info, since="dashboard"),
    Endpoint("GET", "/agents/status", agent_answers.agents_status),
    Endpoint("POST", "/agent/password", agent_answers.set_agent_password, since="agent password"),
    Endpoint("POST", "/login", agent_answers.login, since="sessions"),
    Endpoint("POST", "/logout", agent_answers.logout, since="sessions"),
    Endpoint("GET", "/observer/info", agent_answers.observer_info, since="topology"),
    Endpoint("GET", "/ob/info", cluster_answers.ob_info),
    Endpoint("GET", "/ob/agents", cluster_answers.ob_agents),
    Endpoint("POST", "/ob/scale_out", scale_out),
    Endpoint("POST", "/ob/scale_in", removal.scale_in, since="removal"),
    Endpoint("DELETE", "/observer", removal.scale_in, since="removal"),
    # obshell asks nobody who deletes a zone for a header.
    Endpoint("DELETE", "/zone/{name}", removal.delete_zone, since="removal", is_open=True),
    Endpoint("GET", "/obcluster/charsets", cluster_answers.charsets, since="dashboard"),
    Endpoint("GET", "/obcluster/info", cluster_answers.cluster_info, since="dashboard"),
    Endpoint("GET", "/obcluster/topology/info", cluster_answers.topology, since="topology"),
    Endpoint("GET", "/obcluster/parameters", cluster_answers.parameters, since="dashboard"),
    Endpoint("PATCH", "/obcluster/parameters", set_parameters, since="dashboard"),
    Endpoint("GET", "/obcluster/statistics", cluster_answers.statistics, since="dashboard"),
    Endpoint("GET", "/obcluster/license", cluster_answers.license_info, since="license"),
    Endpoint(
        "GET", "/obcluster/unit-config-limit", tenant_answers.unit_config_limit, since="dashboard"
    ),
    Endpoint("GET", "/units/config", tenant_answers.unit_configs, since="tenants"),
    Endpoint("GET", "/unit/config/{name}", tenant_answers.unit_config, since="tenants"),
    Endpoint("GET", "/resource-pools", tenant_answers.resource_pools, since="tenants"),
    Endpoint("GET", "/tenants/overview", tenant_answers.tenants_overview, since="tenants"),
    Endpoint("GET", "/tenant/{name}", tenant_answers.tenant, since="tenants"),
    Endpoint("POST", "/tenant/{name}/replicas", replicas.add_replicas, since="tenants"),
    Endpoint("PATCH", "/tenant/{name}/replicas", replicas.modify_replicas, since="tenants"),
    Endpoint("DELETE", "/tenant/{name}/replicas", replicas.drop_replicas, since="tenants"),
    Endpoint("GET", "/task/dag/unfinish", task_answers.unfinished),
    Endpoint("GET", "/task/dag/ob/unfinish", task_answers.unfinished_of_cluster),
    Endpoint("GET", "/task/dag/agent/unfinish", task_answers.unfinished_of_agent),
    Endpoint("GET", "/task/dag/maintain/ob", task_answers.maintenance_of_cluster),
    Endpoint("GET", "/task/dag/maintain/agent", task_answers.maintenance_of_agent),
    Endpoint("GET", "/task/dag/maintain/agents", task_answers.maintenance_of_agents),
    Endpoint("GET", "/task/dag/agent/main_dags", task_answers.main_dags, since="dashboard"),
    Endpoint("GET", "/task/dags/ob", task_answers.dags_of_cluster, since="dashboard"),
    Endpoint("GET", "/task/dags/agent", task_answers.dags_of_agent, since="dashboard"),
    Endpoint("GET", "/task/dag/{id}", task_answers.dag),
    Endpoint("POST", "/task/dag/{id}", task_answers.operate_dag),
    Endpoint("GET", "/task/node/{id}", task_answers.node),
    Endpoint("POST", "/task/node/{id}", task_answers.operate_node, since="maintenance type"),
    Endpoint("GET", "/task/sub_task/{id}", task_answers.sub_task),
    Endpoint("GET", "/task/sub_task/{id}/logs", task_answers.sub_task_logs, since="dashboard"),
)
