// error: 3: there is no float score_mod

