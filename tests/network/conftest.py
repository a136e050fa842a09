from tests.federation import federation as federation
from tests.memory_broker import memory_broker as memory_broker
