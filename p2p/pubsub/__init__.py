"""Topics: publications in order, what was lost of them, and getting it back."""

from p2p.pubsub.audience import Audience
from p2p.pubsub.errors import BadTopic, NotEnoughSubscribers, SubscriberTooSlow
from p2p.pubsub.interests import Interests, decode_interest, encode_interest
from p2p.pubsub.subscription import Policy, Publication, Subscription
from p2p.pubsub.topics import Topics

__all__ = [
    "Audience",
    "BadTopic",
    "Interests",
    "NotEnoughSubscribers",
    "Policy",
    "Publication",
    "SubscriberTooSlow",
    "Subscription",
    "Topics",
    "decode_interest",
    "encode_interest",
]
