"""Tests of batch files and tables: each fault is named with its cell."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.batch.schedule import Row, order_of
from obscale.errors import SpecError
from obscale.request.models import ClusterSpec, ScaleOutSpec
from obscale.request.policies import BatchPolicies
from obscale.spec import read_spec
from obscale.spec.batch import BatchSpec, compact, form_batch, parse_batch, read_batch
from obscale.spec.table import read_table

EXAMPLES = Path(__file__).parents[2] / "examples"
CANARY = "hunter2-canary"
MANY = """\
connections:
  west: {endpoints: ["10.1.0.1:2886"], password: {env: OB_WEST}}
policies: {canary: node, stop_batch_after: 2}
profile: lab
defaults: {obConfigs: {memory_limit: 16G, system_memory: 8G}}
clusters:
  - cluster: east
    nodes:
      - {agentInfo: {ip: 10.0.0.4}, zone: zone1}
      - {agentInfo: {ip: 10.0.0.5}, zone: zone2, obConfigs: {memory_limit: 20G}}
  - cluster: west
    profile: prod
    defaults: {obConfigs: {memory_limit: 32G}}
    nodes:
      - {agentInfo: {ip: 10.1.0.4}, zone: zone1}
"""
TABLE = """\
cluster,ip,port,zone,memory_limit,obConfigs.syslog_level,agent_password_env
east,10.0.0.4,2886,zone1,16G,INFO,SPARE
east,10.0.0.5,,zone2,20G,,
west,10.1.0.4,,zone1,32G,,
"""


def problems(text: str, name: str = "batch.yaml") -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        parse_batch(text, name, Path())
    return told(caught.value)


def told(error: SpecError) -> tuple[str, ...]:
    assert CANARY not in str(error)
    assert all("\n" not in problem and CANARY not in problem for problem in error.problems)
    return error.problems


@pytest.fixture
def table(tmp_path):
    """Give a function that reads a table from a file."""

    def read(content: str | bytes, name: str = "nodes.csv") -> BatchSpec:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_batch(path)

    return read


@pytest.fixture
def faults(table):
    """Give a function that reads a wrong table and gives its problems without the folder."""

    def read(content: str | bytes) -> tuple[str, ...]:
        with pytest.raises(SpecError) as caught:
            table(content)
        return tuple(p[p.index("nodes.csv") :] for p in told(caught.value))

    return read


def nodes_of(spec: BatchSpec) -> list[tuple[str, str, str, str]]:
    return [
        (str(c.cluster), node.address, node.zone, node.obConfigs.get("memory_limit", ""))
        for c in spec.clusters
        for node in c.nodes
    ]


def test_a_file_holds_many_clusters_and_what_they_share():
    """A node's own value stands above its cluster's, that above the batch's."""
    spec = parse_batch(MANY, "batch.yaml", Path())

    assert nodes_of(spec) == [
        ("east", "10.0.0.4:2886", "zone1", "16G"),
        ("east", "10.0.0.5:2886", "zone2", "20G"),
        ("west", "10.1.0.4:2886", "zone1", "32G"),
    ]
    assert [c.profile for c in spec.clusters] == ["lab", "prod"]
    assert spec.clusters[1].nodes[0].obConfigs["system_memory"] == "8G"
    assert spec.policies.canary == "node"
    assert spec.connections["west"].endpoints == ("10.1.0.1:2886",)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_a_table_pasted_into_the_form_is_a_batch(between, ends):
    """As a spreadsheet copies its cells, with tabs, or as a CSV file has them."""
    pasted = TABLE.replace(",", between).replace("\n", ends)
    policies = BatchPolicies(canary="node")
    west = ClusterSpec(endpoints=("10.1.0.1:2886",))

    spec = form_batch((), pasted, {"west": west}, policies)

    assert nodes_of(spec) == [
        ("east", "10.0.0.4:2886", "zone1", "16G"),
        ("east", "10.0.0.5:2886", "zone2", "20G"),
        ("west", "10.1.0.4:2886", "zone1", "32G"),
    ]
    assert (spec.policies, spec.connections) == (policies, {"west": west})


def test_every_fault_of_a_pasted_table_is_told_by_line_and_column():
    """By the same reader as a file's, and without what may be a secret."""
    pasted = "cluster\tip\tport\tzone\tmemory_limit\n"
    pasted += "east\tdb4\t70000\tzone1\t16G\n\neast\t10.0.0.5\t\t\t16\n"

    with pytest.raises(SpecError) as caught:
        form_batch((), pasted, {}, BatchPolicies())
    with pytest.raises(SpecError) as secret:
        form_batch((), f"ip,password\n10.0.0.4,{CANARY}\n", {}, BatchPolicies())

    assert [problem.split(" ", 3)[:3] for problem in told(caught.value)] == [
        ["csv:2:", "column", "port:"],
        ["csv:2:", "column", "ip:"],
        ["csv:4:", "column", "zone:"],
        ["csv:4:", "column", "memory_limit:"],
    ]
    assert "a secret has no place in a table" in told(secret.value)[0]


def test_nodes_stand_in_clusters_or_in_a_table_not_in_both():
    """One error that names both fields; a table of blanks is none."""
    node = {"agentInfo": {"ip": "10.0.0.4"}, "zone": "zone1"}
    clusters = (ScaleOutSpec.model_validate({"cluster": "east", "nodes": [node]}),)

    with pytest.raises(SpecError) as caught:
        form_batch(clusters, TABLE, {}, BatchPolicies())

    assert str(caught.value) == "clusters and csv both hold nodes. Next: leave one of them empty"
    assert form_batch(clusters, " \n", {}, BatchPolicies()).clusters == clusters


def test_a_batch_without_nodes_says_where_they_go():
    """The form is sent empty."""
    with pytest.raises(SpecError, match=r"asks for no node.*list clusters.*paste a table into csv"):
        form_batch((), " \n", {}, BatchPolicies())


def test_a_request_of_one_cluster_is_a_batch_of_one_cluster():
    """With policies or without."""
    text = "cluster: east\nnodes: [{agentInfo: {ip: 10.0.0.4}, zone: zone1}]\n"

    plain = parse_batch(text, "node.yaml", Path())
    careful = parse_batch(text + "policies: {stop_cluster_after: 2}\n", "node.yaml", Path())

    assert plain.clusters == careful.clusters
    assert (plain.policies.stop_cluster_after, careful.policies.stop_cluster_after) == (1, 2)


def test_a_table_holds_one_node_a_row(table):
    """Columns may be start options; empty cells are as good as none."""
    spec = table(TABLE)

    assert nodes_of(spec) == [
        ("east", "10.0.0.4:2886", "zone1", "16G"),
        ("east", "10.0.0.5:2886", "zone2", "20G"),
        ("west", "10.1.0.4:2886", "zone1", "32G"),
    ]
    first, second = spec.clusters[0].nodes
    assert first.obConfigs["syslog_level"] == "INFO"
    assert first.targetAgentPassword is not None
    assert first.targetAgentPassword.env == "SPARE"
    assert "syslog_level" not in second.obConfigs


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(",", ";"),
        lambda text: "sep=;\r\n" + text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace("\n", "\n\n") + ",,,,,,\n",
        lambda text: text.replace("16G", '"16G"').replace("east", '" east "'),
        lambda text: text.replace("cluster,ip", "Cluster, IP ").replace("memory_l", "Memory_L"),
        lambda text: "\n".join(line + ",," for line in text.splitlines()),
        lambda text: text.replace("ip,port", "agentInfo.ip,agentInfo.port"),
        lambda text: text.rstrip("\n"),
    ],
    ids=[
        *("byte order mark", "CRLF", "semicolons", "Excel's sep line", "tabs", "empty rows"),
        *("quoting", "capitals and blanks", "empty columns", "long names", "no last line end"),
    ],
)
def test_what_a_spreadsheet_writes_is_read_alike(table, change):
    """However it was exported, it is the same batch."""
    assert table(change(TABLE)) == table(TABLE)


def test_a_table_may_stand_beside_a_file_of_policies(tmp_path):
    """What all rows share, and where their clusters are, is then written once."""
    (tmp_path / "nodes.csv").write_text("ip,zone\n10.1.0.4,zone1\n10.1.0.5,\n")
    path = tmp_path / "batch.yaml"
    path.write_text(
        "rows: nodes.csv\ncluster: west\npolicies: {canary: cluster}\n"
        "defaults: {zone: zone9, obConfigs: {memory_limit: 16G}}\n"
        "connections: {west: {endpoints: ['10.1.0.1:2886']}}\n"
    )

    spec = read_batch(path)

    assert nodes_of(spec) == [
        ("west", "10.1.0.4:2886", "zone1", "16G"),
        ("west", "10.1.0.5:2886", "zone9", "16G"),
    ]
    assert spec.policies.canary == "cluster"


def test_every_fault_of_a_table_is_told_at_once_with_row_and_column(faults):
    """Whoever mends the spreadsheet mends it once."""
    rows = [
        "cluster,ip,port,zone,memory_limit,agent_password_env",
        "east,10.0.0.4,2886,zone1,16G,",
        "east,10.0.0.5,28x6,zone1,16GiB,",
        "east,10.0.0.6,99999,zone1,16G,",
        ",10.0.0.7,,,16G,",
        "east,10.0.0.300,,zone1,16G,",
        "east,10.0.0.8,,zone1,1.5T,",
        "east,10.0.0.9,,zone1,16G,,oops",
        f"east,10.0.0.10,,zone1,16G,{CANARY}!",
        "east,10.0.0.4,,zone1,16G,",
        "west,10.0.0.4,,zone1,16G,",
        "east,10.0.0.4,2887,zone1,16G,",
    ]

    found = faults("\n".join(rows))

    stray = "cell 7 stands below no column's name; is a separator too many, or a quote missing?"
    assert [": ".join(problem.split(": ")[:2]) for problem in found[:9]] == [
        "nodes.csv:3: column port",
        "nodes.csv:3: column memory_limit",
        "nodes.csv:4: column port",
        "nodes.csv:5: column cluster",
        "nodes.csv:5: column zone",
        "nodes.csv:6: column ip",
        "nodes.csv:7: column memory_limit",
        f"nodes.csv:8: {stray}",
        "nodes.csv:9: column agent_password_env",
    ]
    lines = [problem.split(": ")[:2] for problem in found[9:]]
    assert lines == [
        ["nodes.csv:10", "columns ip, port"],
        ["nodes.csv:11", "columns ip, port"],
        ["nodes.csv:12", "column mysql_port"],
        ["nodes.csv:12", "column rpc_port"],
    ]
    assert "10.0.0.4:2886 is asked for twice" in found[9]
    assert "nodes.csv:2; remove one" in found[9]
    assert "is asked for of west, and of east at" in found[10]
    assert "port 2881 on 10.0.0.4 is also mysql_port of 10.0.0.4:2886 at" in found[11]


def test_one_bad_row_among_many_is_found(faults):
    """Row and column, and nothing else."""
    rows = [f"east,10.0.{n // 250}.{n % 250 + 1},zone1,16G" for n in range(1000)]
    rows[617] = rows[617].replace("16G", "16 gigs")

    (problem,) = faults("\n".join(["cluster,ip,zone,memory_limit", *rows]))

    assert problem.startswith("nodes.csv:619: column memory_limit: '16 gigs' is not a size")


def test_two_nodes_on_one_host_do_not_share_a_directory(faults):
    """Also where they join different clusters."""
    text = (
        "cluster,ip,port,zone,mysql_port,rpc_port,data_dir\n"
        "east,10.0.0.4,2886,zone1,2881,2882,/data/ob\n"
        "west,10.0.0.4,2887,zone1,3881,3882,/data//ob/\n"
    )

    (problem,) = faults(text)

    assert problem.startswith(
        "nodes.csv:3: column data_dir: /data/ob on 10.0.0.4 is also data_dir of "
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "nodes.csv: is empty; the first row names the columns: cluster, ip, port, zone"),
        ("\n\n", "nodes.csv: is empty"),
        ("cluster,ip,zone\n", "nodes.csv: has no row below its columns"),
        ("cluster,ip,zone\n,,\n", "nodes.csv: has no row below its columns"),
        ("cluster,zone\neast,zone1\n", "nodes.csv:1: no column is named ip"),
        ("ip,zone\n10.0.0.4,zone1\n", "nodes.csv:1: no column is named cluster"),
        ("cluster,ip,ip\n", "nodes.csv:1: column 3 'ip': stands twice"),
        (
            "cluster,ip,zone,memory limit\n",
            "nodes.csv:1: column 4 'memory limit': unknown; did you mean memory_limit?",
        ),
        ("cluster,ip,zone,colour\n", "nodes.csv:1: column 4 'colour': unknown; known are cluster"),
        (
            "cluster,ip,zone,root_password\n",
            "nodes.csv:1: column 4 'root_password': a secret has no place in a table",
        ),
        ('cluster,ip,zone\neast,"10.0.0.4,zone1\n', "nodes.csv:2: is no table: a quote is opened"),
        ("cluster;ip;zone\neast,10.0.0.4,zone1\n", "nodes.csv:2: column ip: is empty"),
        (
            "cluster,ip,zone\n北京,10.0.0.4,zone1\n".encode("gb18030"),
            "nodes.csv: is no text in UTF-8 (byte 16); save it as UTF-8 (in a spreadsheet: CSV",
        ),
        (b"cluster,ip,zone\nM\xfcnchen,10.0.0.4,zone1\n", "nodes.csv: is no text in UTF-8"),
        ("cluster,ip,zone\n".encode("utf-16-le"), "nodes.csv:1: holds a zero byte; save it as"),
        (b"PK\x03\x04\x14\0", "nodes.csv: is a spreadsheet's own file; save it as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1", "nodes.csv: is a spreadsheet's own file; save it as CSV UTF-8"),
        ("x" * (17 << 20), "nodes.csv: is larger than 16384 KiB"),
        ("cluster,ip,zone\neast,\0,zone1\n", "nodes.csv:2: "),
    ],
)  # fmt: skip
def test_what_is_no_table_of_nodes_is_refused_in_one_line(faults, content, said):
    """Never a traceback, whatever was exported."""
    assert faults(content)[0].startswith(said)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_is_read_as_a_spreadsheet_saves_it(table, encoding, separator, line_end):
    """Any of its encodings that says which it is, any of its separators and line ends."""
    mark = "" if encoding in {"utf-8", "utf-8-sig", "utf-16"} else "\ufeff"
    rows = [["cluster", "ip", "zone"], ["北京", "10.0.0.4", "zone1"]]
    text = mark + line_end.join(separator.join(row) for row in rows) + line_end

    spec = table(text.encode(encoding))

    assert nodes_of(spec) == [("北京", "10.0.0.4:2886", "zone1", "")]


@pytest.mark.parametrize("name", ["n.xlsx", "n.XLS", "n.xlsm", "n.ods", "n.et"])
@pytest.mark.parametrize("content", [b"PK\x03\x04\xff", b"<html><table></table></html>"])
def test_a_spreadsheets_own_file_is_named_with_its_cure(tmp_path, name, content):
    """Said what it is and what to do, read alone or as rows; by its name, whatever it holds."""
    (tmp_path / name).write_bytes(content)
    said = "is a spreadsheet's own file; save it as CSV UTF-8 and name that"

    with pytest.raises(SpecError, match=said):
        read_batch(tmp_path / name)
    with pytest.raises(SpecError, match=said):
        read_spec(tmp_path / name)
    with pytest.raises(SpecError, match=said):
        parse_batch(f"rows: {name}\n", "batch.yaml", tmp_path)


@pytest.mark.parametrize("name", ["shadow", "shadow.yaml", ".ssh/id_rsa", "/etc/passwd"])
def test_rows_that_are_no_table_by_their_name_are_not_opened(tmp_path, name):
    """A batch somebody else wrote cannot have another file's lines told."""
    for folder in ("", ".ssh"):
        (tmp_path / folder).mkdir(exist_ok=True)
    if not name.startswith("/"):
        (tmp_path / name).write_text(f"{CANARY}:x:0\n")

    with pytest.raises(
        SpecError, match=r"no table by its name; a table ends in \.csv or \.tsv"
    ) as e:
        parse_batch(f"rows: {name}\ncluster: east\n", "batch.yaml", tmp_path)

    assert len(told(e.value)) == 1


@pytest.mark.parametrize(
    "content",
    [
        f"root:{CANARY}:19000:0:99999:7:::\ndaemon:*:1::::::\n",
        f"-----BEGIN {CANARY}-----\nabc\n",
        f"{CANARY},{CANARY}\n1,2\n",
        f'{{"token": "{CANARY}"}}',
        f'"{CANARY}\n',
        f"export TOKEN={CANARY}; export X=1\n",
    ],
)
def test_lines_of_a_file_that_is_no_table_are_never_repeated(tmp_path, content):
    """Also where its name is a table's: a link of that name may lead anywhere."""
    (tmp_path / "secret").write_text(content)
    (tmp_path / "nodes.csv").symlink_to(tmp_path / "secret")

    with pytest.raises(SpecError) as alone:
        read_batch(tmp_path / "nodes.csv")
    with pytest.raises(SpecError) as beside:
        parse_batch("rows: nodes.csv\ncluster: east\n", "batch.yaml", tmp_path)

    assert "nodes.csv:1: " in told(alone.value)[0]
    assert "nodes.csv:1: " in told(beside.value)[0]


@given(st.text(max_size=200))
def test_no_text_at_all_makes_a_traceback(text):
    """Garbage is refused as garbage, in YAML and in tables."""
    for name in ("batch.yaml", "batch.json"):
        with suppress(SpecError):
            parse_batch(f"clusters:\n{text}", name, Path())
    read_table(text, "nodes.csv")
    read_table(f"cluster,ip,zone\n{text}", "nodes.csv")


BAD = {
    "no node": ("policies: {}\n", "asks for no node; list clusters, or name a table"),
    "an empty list": ("clusters: []\n", "asks for no node"),
    "a misspelt policy": (
        MANY.replace("canary", "canari"),
        "batch.yaml:3: policies.canari: unknown field; did you mean 'canary'?",
    ),
    "an unknown word": (
        MANY.replace("canary: node", "canary: bird"),
        (
            "batch.yaml:3: policies.canary: is no known word: the text 'bird'; "
            "write 'none', 'node' or 'cluster'"
        ),
    ),
    "no clusters at once": (
        MANY.replace("canary: node", "max_clusters_at_once: 0"),
        "batch.yaml:3: policies.max_clusters_at_once: must be 1 or more, not 0",
    ),
    "an unquoted hour": (
        MANY.replace("canary: node", "window: {start: 12:30, end: '13:30'}"),
        "batch.yaml:3: policies.window.start: must be an hour in quotes, e.g. '02:00'",
    ),
    "a missing zone": (
        MANY.replace("{agentInfo: {ip: 10.0.0.4}, zone: zone1}", "{agentInfo: {ip: 10.0.0.4}}"),
        "batch.yaml:9: nodes[0].zone: missing",
    ),
    "a bad size in what all share": (
        MANY.replace("system_memory: 8G", "system_memory: 8GiB"),
        "batch.yaml:5: defaults.obConfigs.system_memory: '8GiB' is not a size",
    ),
    "a cluster twice": (
        MANY.replace("cluster: west", "cluster: east"),
        "batch.yaml:11: cluster east is listed twice",
    ),
    "a password": (
        MANY.replace("{env: OB_WEST}", CANARY),
        "batch.yaml:2: connections.west.password: a secret never stands here itself",
    ),
    "a table that is not there": (
        "rows: nowhere.csv\n",
        "nowhere.csv: cannot be read: No such file",
    ),
    "text for clusters": ("clusters: all\n", "batch.yaml:1: clusters: must be a list"),
    "a word for a cluster": ("clusters: [east]\n", "batch.yaml:1: must be a mapping with cluster"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_fault_of_a_file_names_its_line_and_its_cure(name):
    """One clear line for each way to get it wrong."""
    text, said = BAD[name]

    found = problems(text)

    assert any(said in problem for problem in found), found


def test_faults_of_json_name_the_cluster():
    """Where a file has no lines, its path says where."""
    text = json.dumps(
        {"clusters": [{"cluster": "east", "nodes": [{"agentInfo": {"ip": "10.0.0.4"}}]}]}
    )

    (problem,) = problems(text, "batch.json")

    assert problem.startswith("batch.json: clusters[0]: nodes[0].zone: missing")


def test_ten_thousand_rows_are_read_and_put_in_order(table):
    """Every one of them is judged; nothing grows with the square of their number."""
    count = 10_000
    rows = [
        f"c{n % 4},10.{n // 62500}.{n // 250 % 250}.{n % 250 + 1},zone{n // 4 % 3 + 1},16G"
        for n in range(count)
    ]

    spec = table("\n".join(["cluster,ip,zone,memory_limit", *rows]))

    nodes = [node for cluster in spec.clusters for node in cluster.nodes]
    order = list(order_of([Row(n, "c", each.zone, "") for n, each in enumerate(nodes)], {}))
    assert len({node.address for node in nodes}) == count
    assert [row.zone for row in order[:6]] == ["zone1", "zone2", "zone3"] * 2


def test_a_batch_is_written_briefly_and_reads_back_the_same():
    """What all nodes of a cluster share stands once in the run's parameters."""
    for asked in parse_batch(MANY, "batch.yaml", Path()).clusters:
        written = compact(asked)

        again = ScaleOutSpec.model_validate(written)
        assert again.nodes == asked.nodes
        assert (again.cluster, again.profile) == (asked.cluster, asked.profile)
        assert json.dumps(written).count("system_memory") == 1


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("batch-*")), ids=lambda path: path.name)
def test_an_example_is_read(path):
    """What a newcomer copies has no fault."""
    assert read_batch(path).clusters
