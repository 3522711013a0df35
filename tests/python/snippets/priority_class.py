class EventPriority(Enum):
    LOWEST = auto()   # Lowest priority
    LOW = auto()      # Low priority
    NORMAL = auto()   # Normal priority
    HIGH = auto()     # High priority
    HIGHEST = auto()  # Highest priority
    MONITOR = auto()  # Monitoring only
