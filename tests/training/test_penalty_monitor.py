"""The watch over the learned penalties: one line each time that one leaves its bounds."""

from kseg.training.penalty_monitor import PenaltyMonitor


def lines(capsys, alphas):
    watch = PenaltyMonitor()
    said = []
    for epoch, alpha in enumerate(alphas):
        watch.on_epoch_end(epoch, {} if alpha is None else {"alpha": alpha})
        said.append(capsys.readouterr().err)
    return said


def test_it_speaks_when_a_penalty_leaves_and_not_while_it_stays_away(capsys):
    inside, left, away, back, again = lines(capsys, [0.05, 0.049, 0.01, 0.5, 0.951])
    assert (inside, away, back) == ("", "", "")
    assert "epoch 2: the learned penalty alpha is down to 0.049: false positives" in left
    assert "too much foreground" in left
    assert "loss.min_weight" in left
    assert "epoch 5: the learned penalty beta is down to 0.049: false negatives" in again
    assert "too little foreground" in again


def test_a_loss_without_learned_penalties_is_not_watched(capsys):
    assert lines(capsys, [None, None]) == ["", ""]
