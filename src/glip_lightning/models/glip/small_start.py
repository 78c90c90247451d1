"""An initialisation for small detectors that learn from random weights on little data.

Without a pre-trained backbone and BERT, the official initialisation leaves words and pixels
unaligned for tens of thousands of images: boxes come soon, but every word of a caption looks
alike and colours are lost on their way through the tower. Three changes remove this. The numbers
are accuracies of colours in a prototype of the nano detectors after the same 6,400 images: .15
with the official start, .25 with all changes, .85 with the dense captions of the pre-training
recipes, too.

* Word embeddings of unit variance and text layers that begin as the identity keep words apart. The
  cosine between two colours had grown to .98 in training, and stayed below .12.
* The 3x3 convolutions that a level passes through begin as the identity. A colour could be read
  from the tower with an accuracy of .14, and then soon of .72.
* ``GLIPConfig.log_scale`` is about -ln 8. Half a unit vector through a default projection gives
  logits too small to learn from (.09 against .37 after 100 steps).
"""

from torch import nn

from glip_lightning.models.glip.fusion import TextLayer
from glip_lightning.models.glip.language import Language
from glip_lightning.models.layers.identity_start import start_as_identity


def start_small(model: nn.Module) -> None:
    """Initialise a GLIP detector for training from random weights, see above.

    Other parts keep their initialisation.
    """
    start_as_identity(model)
    for part in model.modules():
        if isinstance(part, Language):
            nn.init.normal_(part.bert.embeddings.word_embeddings.weight)
            for layer in part.bert.encoder.layer:
                _vanish(layer.attention.output.dense, layer.output.dense)  # pyrefly: ignore[missing-attribute]
        elif isinstance(part, TextLayer):
            _vanish(part.out, part.fc2)


def _vanish(*layers: nn.Linear) -> None:
    """Let residual layers add nothing in the beginning."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
