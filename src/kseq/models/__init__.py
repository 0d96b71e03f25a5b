"""Builders of encoders, decoders and whole models, inference models, and scores."""

from kseq.models.decoder import Decoder, build_decoder
from kseq.models.encoder import build_encoder
from kseq.models.ensemble import Ensemble
from kseq.models.inference import InferenceModels, build_inference_models
from kseq.models.scoring import perplexity, score
from kseq.models.seq2seq import Seq2Seq, build_seq2seq

__all__ = [
    "Decoder",
    "Ensemble",
    "InferenceModels",
    "Seq2Seq",
    "build_decoder",
    "build_encoder",
    "build_inference_models",
    "build_seq2seq",
    "perplexity",
    "score",
]
