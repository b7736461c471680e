"""The settings of every process: one frozen tree, read once at start; each component is given its own group.
The only file that reads the environment. `docs/configuration.md` is generated from the docstrings here.

Precedence: flag > `FOREBAY_*` environment > `forebay.toml` in the working directory > default.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, PositiveFloat, PositiveInt, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as SourceError

from runtime.admission_settings import AdmissionSettings
from runtime.engine_settings import AnnIndexSettings, FeatureStoreSettings, OnnxSettings
from runtime.redis_settings import RedisSettings
from runtime.refresh_settings import RefreshSettings
from runtime.settings_group import Group
from runtime.stream_settings import StreamSettings
from runtime.submission_settings import SubmissionSettings

PREFIX = "FOREBAY_"
FILE = "forebay.toml"
SHORT_NAMES = {"redis_url": "redis__url"}
"""Names of the environment and of flags that stand for a nested one."""


class SettingsError(ValueError):
    """The settings are wrong; `problems` has a line for each mistake, naming where it was made."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("wrong settings:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


def _loopback_address(text: str) -> str:
    host, port = split_address(text)
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is not within 0 to 65535")
    if not is_loopback(host):
        raise ValueError(
            f"{host} is reachable from other machines, and no credentials are configured: "
            "bind a loopback address (127.0.0.1, ::1 or localhost)"
        )
    return text


Address = Annotated[str, AfterValidator(_loopback_address)]


class ServerSettings(Group):
    """The gateway's ports and what one connection and one call may use."""

    bind: Address = "127.0.0.1:8500"
    """HOST:PORT that serves predictions and features. Port 0 takes a free one, printed when ready."""

    admin: Address = "127.0.0.1:8501"
    """HOST:PORT of the admin service, for operators only. Port 0 takes a free one, printed when ready."""

    processes: PositiveInt = 1
    """How many processes share the port. One saturates about one core."""

    max_timeout_s: PositiveFloat = 60.0
    """Seconds after which any call is ended with DEADLINE_EXCEEDED, whatever its caller allows. Bounds what a
    caller that sends no deadline can hold."""

    max_stream_s: PositiveFloat = 600.0
    """Seconds after which a stream is ended: what is under way is answered, then UNAVAILABLE asks its client
    to open another. Below `max_connection_age_s`, so that no stream is cut by its connection's end."""

    max_receive_bytes: PositiveInt = 1_048_576
    """Largest request in bytes; a larger one is refused. With more, one call occupies the loop longer."""

    max_concurrent_streams: PositiveInt = 100
    """Calls under way per connection; the excess waits in the client, at no cost to the server. Too low
    leaves the server idle behind few connections. Too high, and a burst holds up everybody who comes after
    it: connections x streams x 0.2 ms, for that is what a call costs even to refuse."""

    max_pending_calls: PositiveInt = 250
    """Calls that have arrived and wait for the process to take them in. Past that gRPC ends some at once,
    past five quarters of it all, outside of Python and so at little cost; their callers see CANCELLED,
    without details. Taking one in costs 0.2 to 0.9 ms: where the setting is too high, calls are near their
    deadline by then in overload; where it is too low, a burst of several clients at once is ended."""

    max_connection_age_s: PositiveFloat = 900.0
    """Seconds after which a client is asked to reconnect (jittered by a tenth), so that connections spread
    over processes and new servers. Lower spreads sooner and costs more handshakes."""

    max_connection_age_grace_s: PositiveFloat = 30.0
    """Seconds that calls on an aged connection have to end before they are cut."""

    keepalive_min_interval_s: PositiveFloat = 15.0
    """Shortest time in seconds between a client's keepalive pings; one that pings faster is disconnected.
    Must not exceed the clients' own interval (the SDK's is 30)."""

    drain_wait_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds between reporting NOT_SERVING and closing the port on SIGTERM. Behind a load balancer set it to
    the time that the balancer takes to notice (5 to 10); 0 suits a single process."""

    drain_grace_s: Annotated[float, Field(ge=0)] = 5.0
    """Seconds that calls under way have to end once the port is closed; then they are cancelled. Should not
    be below the longest deadline that callers use."""

    recent_requests: PositiveInt = 256
    """How many recent requests `forebay trace` can look back on. Each holds a few kilobytes."""


class GatewaySettings(Group):
    """Where the gateway's CPU-bound work runs (index searches, model runs), and what one stream may hold."""

    inline_below_s: Annotated[float, Field(ge=0)] = 0.001
    """Seconds of processor time. Work that is predicted to take less runs on the event loop, the rest in a
    thread. A hop to a thread and back costs 0.0001 to 0.0005 s; a higher value makes every other request wait
    for the work."""

    batch_members: PositiveInt = 64
    """The most requests that one batch takes through the steps together; 1 makes every request run alone.
    Fewer bound how much a request waits for the others of its batch, and cost throughput."""

    stream_messages: PositiveInt = 64
    """Predictions under way per StreamPredict stream, until their answers are sent; with that many the server
    reads no further and HTTP/2 holds the client back. A stream holds at most so many requests and answers in
    memory. Too low starves the batches; a high value lets one stream fill the queue."""

    offload_threads: PositiveInt = 1
    """Threads for the work that doesn't run on the event loop. More than the cores that are left over only
    make each piece of work slower."""

    reply_reserve_s: Annotated[float, Field(ge=0)] = 0.002
    """Seconds of a request's time that are kept for its reply: at least a fiftieth of its time, at most a
    tenth. More makes answers degrade sooner where a dependency is slow; less makes more of them late, for
    timers are good to a millisecond."""

    precomputed_wait_s: PositiveFloat = 0.005
    """Seconds that a request of a pipeline with `precomputed: first` waits for its answer in the store, at
    most a quarter of what its deadline leaves; then it is computed. Lower computes more while the store is
    slow; higher leaves less time for computing after a miss."""


class RecallSettings(Group):
    """What the prediction cache may hold, in each process. For how long is declared per pipeline, by `cache:`
    in the application file."""

    max_bytes: PositiveInt = 67_108_864
    """Bytes of all kept answers, their keys and tables included; the least recently used give way. An answer
    of ten entities takes about a kilobyte and a half."""

    max_entry_bytes: PositiveInt = 1_048_576
    """Bytes of the largest answer that is kept, so that one doesn't drive out hundreds."""

    stale_answer_max_age_s: PositiveFloat = 3600.0
    """Seconds for which an answer may stand in where none can be made, in pipelines that declare
    `stale_answer`."""


class RegistrySettings(Group):
    """How a server follows what is live."""

    poll_s: PositiveFloat = 1.0
    """Seconds between looks at the release pointer: how long a new release goes unnoticed, at most."""


class ModelServerSettings(Group):
    """The standalone model server's port and models."""

    bind: Address = "127.0.0.1:8510"
    """HOST:PORT that serves the Open Inference Protocol. Port 0 takes a free one, printed when ready."""

    repository: Path = Path("models")
    """Directory that holds `<name>/<version>/model.onnx`."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        toml_file=FILE,
    )

    app: str = ""
    """Name of the application to serve or to change; commands that need one refuse to start without it."""

    artifacts: Path = Path(".forebay/artifacts")
    """Directory of index snapshots and of the private cache that servers map them from. Every server must see
    the same files in `<artifacts>/<app>/indexes`."""

    redis: RedisSettings = RedisSettings()
    server: ServerSettings = ServerSettings()
    gateway: GatewaySettings = GatewaySettings()
    admission: AdmissionSettings = AdmissionSettings()
    submissions: SubmissionSettings = SubmissionSettings()
    recall: RecallSettings = RecallSettings()
    registry: RegistrySettings = RegistrySettings()
    feature_store: FeatureStoreSettings = FeatureStoreSettings()
    refresh: RefreshSettings = RefreshSettings()
    stream: StreamSettings = StreamSettings()
    ann_index: AnnIndexSettings = AnnIndexSettings()
    onnx: OnnxSettings = OnnxSettings()
    model_server: ModelServerSettings = ModelServerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first."""
        file = TomlConfigSettingsSource(settings_cls)
        return init_settings, _ShortNames(settings_cls), env_settings, file


class _ShortNames(PydanticBaseSettingsSource):
    """The environment's short names, as `FOREBAY_REDIS_URL`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        given = {short: os.environ.get(PREFIX + short.upper()) for short in SHORT_NAMES}
        return _nested({SHORT_NAMES[short]: text for short, text in given.items() if text})


def load_settings(**flags: Any) -> Settings:
    """Return the settings of this process. A flag is named by its path (`server__bind`); None is not given.

    Raises: SettingsError with every problem.
    """
    given = {SHORT_NAMES.get(name, name): value for name, value in flags.items() if value is not None}
    problems = [_unknown_variable(name) for name in _unknown_variables(os.environ)]
    try:
        settings = Settings(**_nested(given))
    except ValidationError as error:
        problems += [_problem(details["loc"], details["msg"], given) for details in error.errors()]
    except TOMLDecodeError as error:
        problems.append(f"{FILE}: not TOML: {error}")
    except SourceError as error:
        problems.append(str(error))
    if problems:
        raise SettingsError(problems)
    return settings


def limit_native_threads() -> None:
    """Give native libraries that aren't loaded yet one OpenMP thread each, unless the environment says more.

    A search in FAISS on OpenMP's own pool starts more threads than there are cores, and hangs a forked child.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` (`[::1]:8500` for IPv6). Raises: ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ValueError("an address is HOST:PORT, for example 127.0.0.1:8500")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`; names other than localhost are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def setting_paths(group: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting's path (`server__bind`) and field, in the order of the file."""
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_paths(field.annotation, f"{prefix}{name}__")
        else:
            yield prefix + name, field


_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?$")
"""What Kubernetes puts into the environment for a Service whose name begins with forebay."""


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = {name.upper() for name, _ in setting_paths()} | {name.upper() for name in SHORT_NAMES}
    known |= {name.upper() for name in Settings.model_fields}
    ours = [name for name in environment if name.upper().startswith(PREFIX)]
    unknown = [name for name in ours if name.upper().removeprefix(PREFIX) not in known]
    return sorted(name for name in unknown if not _KUBERNETES.search(name.upper()))


def _unknown_variable(name: str) -> str:
    return f"{name}: no such setting (docs/configuration.md lists them; groups are joined by two underscores)"


def _problem(location: tuple[int | str, ...], message: str, flags: Mapping[str, Any]) -> str:
    path = "__".join(str(part) for part in location)
    text = message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "no such setting")
    return f"{path.replace('__', '.')} ({_origin(path, flags)}): {text}"


def _origin(path: str, flags: Mapping[str, Any]) -> str:
    """Return the strongest source that gives `path`, for the message."""
    if path in flags:
        return "flag"
    short = [name for name, full in SHORT_NAMES.items() if full == path]
    for name in [PREFIX + name.upper() for name in [*short, path]]:
        if os.environ.get(name):
            return name
    return FILE


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, name = path.split("__")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return tree
