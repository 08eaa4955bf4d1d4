// stage.c - a trainer turns to another stage of its curriculum.
#include "curriculum.h"
#include "trainer.h"

const hx_text *hx_train_text(const hx_trainer *t)
{
    hx_text *own = t->stage_text[t->stage];
    return own ? own : t->corpus.text[HX_TRAIN_TEXT];
}

hx_span hx_train_span(const hx_trainer *t)
{
    return t->stage_text[t->stage] ? hx_text_whole(hx_train_text(t)) : t->corpus.span[HX_TRAIN_TEXT];
}

hx_result hx_enter_stage(hx_trainer *t, int64_t step)
{
    int stage = hx_stage_at(t->c, step);
    if (stage == t->stage)
        return HX_OK;
    t->stage = stage;
    t->T = hx_stage_len(t->c, stage);
    HX_TRY(hx_engine_resize(t->rig.engine, t->T + 1));
    if (t->feed.train)
        HX_TRY(hx_feed_turn(&t->feed, t->c, hx_train_text(t), hx_train_span(t), t->T));
    if (t->c->train.curriculum.n)
        hx_say(t, HX_EVENT_NOTE, "step %lld  sequences of %lld tokens, stage %d of %d", (long long)step,
            (long long)t->T, stage + 1, hx_stages(t->c));
    return HX_OK;
}

hx_result hx_next_stage(hx_trainer *t, int64_t step)
{
    HX_TRY(hx_enter_stage(t, step));
    t->state.walk = step;
    t->state.stream = t->feed.train ? hx_stream_mark(t->feed.train) : 0;
    return HX_OK;
}
