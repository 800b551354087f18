"""What a policy is and what it may answer, under the name of version 0.1.0, by which programs import it."""

from horus_async.policy.model.interface import Answer, AnswerError, Observation, ObservationError, Policy, answer_of

__all__ = ["Answer", "AnswerError", "Observation", "ObservationError", "Policy", "answer_of"]
