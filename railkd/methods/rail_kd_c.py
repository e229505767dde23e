"""RAIL-KD in its concatenated form has one distance for all layers together."""

from railkd.methods.parts.rail import Rail


class RailKDConcatenated(Rail):
    """The layers drawn at random as in RAIL-KD^l, concatenated into one vector for each network first.

    (CE + KD + R_c)/3, with R_c = ‖ n(W^T [mean^T_{s(1)}; …; mean^T_{s(m)}]) − n(W^S [mean^S_1; …; mean^S_m]) ‖².

    mean_l (B, D) is the mean over tokens of layer l; s is a sorted random m-subset of the teacher's intermediate
    layers 1..n − 1, redrawn each epoch. W^T (m·D_T, U) and W^S (m·D_S, U). R_c is one term in [0, 4], so at equal
    λ₃ it weighs up to m times less than R_l; kept as published.

    Options as in ``Rail``.
    """

    title = "RAIL-KD^c"
    source = "Haidar et al. (2022), Eq. 3 and 4"
    concatenated = True
