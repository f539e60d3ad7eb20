"""stages.predict, with so few hidden states in memory at once that each of two processes has some pieces to read."""

from stages import predict
from stages.qa.answering import answering
from stages.qa.cli import run

if __name__ == "__main__":
    answering.CHUNK_GIB["cpu"] = 1e-3
    run(predict.main)
