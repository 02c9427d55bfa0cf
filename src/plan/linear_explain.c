/* What a plan of linear attention says of itself: its part of explain.c. */
#include "plan/plan.h"

static const char *decay_name(const rapt_linear_problem *p)
{
    static const char *const decays[] = {"no", "fixed", "per-token", "per-channel"};
    return decays[p->decay];
}

void rapt_linear_explain_problem(const rapt_plan *plan, rapt_text *t)
{
    const rapt_linear_problem *p = &plan->outer;
    rapt_text_add(t, "linear attention %s, rule %s, %s%s decay", rapt_dtype_name(p->dtype),
                  rapt_linear_rule_name((rapt_linear_rule)p->rule), decay_name(p),
                  p->log_decay ? " logarithmic" : "");
    rapt_text_add(t, p->varlen ? ", %llu packed sequences" : ", batch %llu", (unsigned long long)p->batch);
    rapt_text_add(
        t, ", heads %llu (q %llu, k %llu, v %llu), tokens %llu, d_k %u, d_v %u", (unsigned long long)p->heads,
        (unsigned long long)p->tensor[RAPT_L_Q].heads, (unsigned long long)p->tensor[RAPT_L_K].heads,
        (unsigned long long)p->tensor[RAPT_L_V].heads, (unsigned long long)p->tokens, p->d_k, p->d_v);
    rapt_text_add(t, "%s%s%s%s%s", p->beta ? ", beta" : "", p->normalize ? ", normalised" : "",
                  p->tensor[RAPT_L_STATE_IN].present ? ", state in" : "",
                  p->tensor[RAPT_L_STATE_OUT].present ? ", state out" : "", p->in_place ? " in place" : "");
    if (p->position_count)
        rapt_text_add(t, ", and after %u positions", p->position_count);
    rapt_text_add(t, "%s, feature %s", p->bidirectional ? ", bidirectional" : "", rapt_phi_name((rapt_phi)p->feature));
    if (p->feature_k != p->feature)
        rapt_text_add(t, ", of k %s", rapt_phi_name((rapt_phi)p->feature_k));
    if (p->feature_scale != 1.0f)
        rapt_text_add(t, ", of q times %g", (double)p->feature_scale);
    rapt_text_add(t, ", scale %g%s\n", (double)p->scale, plan->aligned ? "" : ", unaligned");
    if (p->mapped)
        rapt_text_add(t, "features %u of %u, made ahead in the workspace, %u at a time\n", p->block * p->blocks, p->d_k,
                      p->block);
    if (plan->step_count == 0)
        return;
    if (plan->layout.chunk == 0)
        rapt_text_add(t, "form     recurrent: a chain of %llu steps, in spans of %llu tokens\n",
                      (unsigned long long)plan->layout.chain, (unsigned long long)plan->layout.span);
    else
        rapt_text_add(
            t,
            "form     chunked: a chain of %llu steps, one a chunk of %u tokens, in spans of %llu tokens%s\n",
            (unsigned long long)plan->layout.chain, plan->layout.chunk, (unsigned long long)plan->layout.span,
            plan->pipelines[0].row->supports & RAPT_ROW_WALKS
                ? "; within a chunk tokens are walked one by one"
            : plan->pipelines[0].row->supports & RAPT_ROW_LEAPS
                ? "; the tokens of a chunk are solved for together"
                : "");
}

void rapt_linear_explain_problem_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_linear_problem *p = &plan->outer;
    rapt_text_add(
        t,
        "{\"op\":\"linear\",\"dtype\":\"%s\",\"rule\":\"%s\",\"decay\":\"%s\",\"log_decay\":%s,\"batch\":%"
        "llu,"
        "\"varlen\":%s,\"heads\":%llu,\"q_heads\":%llu,\"k_heads\":%llu,\"v_heads\":%llu,\"tokens\":%llu,"
        "\"d_k\":%u,\"d_v\":%u,\"beta\":%s,\"normalize\":%s,\"state_in\":%s,\"state_out\":%s,\"in_place\":%s,\"positions\":%u,"
        "\"feature\":\"%s\",\"feature_k\":\"%s\",\"features\":%u,\"feature_blocks\":%u,\"bidirectional\":%s,\"scale\":%.9g,\"aligned\":%s},\"form\":\"%s\",\"chunk\":%u,\"span\":%llu,"
        "\"state_chain\":%llu",
        rapt_dtype_name(p->dtype), rapt_linear_rule_name((rapt_linear_rule)p->rule), decay_name(p),
        p->log_decay ? "true" : "false", (unsigned long long)p->batch, p->varlen ? "true" : "false",
        (unsigned long long)p->heads, (unsigned long long)p->tensor[RAPT_L_Q].heads,
        (unsigned long long)p->tensor[RAPT_L_K].heads, (unsigned long long)p->tensor[RAPT_L_V].heads,
        (unsigned long long)p->tokens, p->d_k, p->d_v, p->beta ? "true" : "false",
        p->normalize ? "true" : "false", p->tensor[RAPT_L_STATE_IN].present ? "true" : "false",
        p->tensor[RAPT_L_STATE_OUT].present ? "true" : "false", p->in_place ? "true" : "false", p->position_count,
        rapt_phi_name((rapt_phi)p->feature), rapt_phi_name((rapt_phi)p->feature_k), p->block * p->blocks, p->blocks,
        p->bidirectional ? "true" : "false", (double)p->scale, plan->aligned ? "true" : "false",
        plan->layout.chunk ? "chunked" : "recurrent", plan->layout.chunk,
        (unsigned long long)plan->layout.span, (unsigned long long)plan->layout.chain);
}
