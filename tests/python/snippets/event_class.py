from mtaio.events import Event, ChangeType

@dataclass
class Event[T]:
    name: str              # Event name
    data: T               # Event data
    propagate: bool = True # Whether to continue propagation
    metadata: Dict[str, Any] = field(default_factory=dict)
