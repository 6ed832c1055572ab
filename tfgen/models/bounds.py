"""What the numbers of `log_prob` are, in the words that every surface uses.

A flow is a density of real numbers, an image has integer levels. A flow sees the dequantized image:
the levels plus noise u in [0, 1), drawn from q(u|x).

- "exact density of the dequantized image": log p(x + u) itself, computed without a bound or an
  estimate, at the u that the image determines. Averaged over u it is a lower bound of the
  log-probability of the image with integer levels.
- "lower bound, ...": its mean over the noise is at most the log-probability of the image as the
  model sees it. For a flow it is log p(x + u) - log q(u|x), or the log-mean-exp over several u; for
  a VAE the evidence lower bound or the importance-weighted bound. The rest of the string says which
  samples it is computed from.
- ", networks in bfloat16": the networks round to half precision. The density of a flow is then not
  called exact, and its latents do not give every image back.

The part before the first comma is one of `EXACT`, `ROUNDED` and `LOWER`, for programs.

Source: Theis, van den Oord and Bethge, A note on the evaluation of generative models, 2015
(1511.01844), section 3.1; Ho et al., Flow++, 2019 (1902.00275), section 3.1.
"""

EXACT = "exact density of the dequantized image"
ROUNDED = "density of the dequantized image"
LOWER = "lower bound"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> from tfgen.models.bounds import counted
    >>> counted(1, "sample"), counted(16, "sample")
    ('1 sample', '16 samples')
    """
    return f"{number} {noun}{'s' * (number > 1)}"


def described(*parts: str, half: str | None, invertible: bool = False) -> str:
    """The string of a bound, from its kind and its samples.

    Args:
        parts: the kind, `EXACT` or `LOWER`, and further parts.
        half: dtype of networks that compute in half precision, or None.
        invertible: whether the model gives images back in float32.

    >>> from tfgen.models import bounds
    >>> bounds.described(bounds.LOWER, "1 dequantization sample", half=None)
    'lower bound, 1 dequantization sample'
    >>> bounds.described(bounds.EXACT, half="bfloat16", invertible=True)
    'density of the dequantized image, networks in bfloat16, round trips are not exact'
    """
    if half is None:
        return ", ".join(parts)
    parts = tuple(ROUNDED if part == EXACT else part for part in parts)
    not_exact = ["round trips are not exact"] if invertible else []
    return ", ".join([*parts, f"networks in {half}", *not_exact])
