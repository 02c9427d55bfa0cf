/* What a plan of a scan says of itself: its part of explain.c. */
#include "plan/plan.h"

static const char *coef_name(const rapt_scan_problem *p)
{
    if (p->op != RAPT_SCAN_LINEAR && p->op != RAPT_SCAN_SOFTMAX && p->op != RAPT_SCAN_HOLD)
        return "";
    const rapt_scan_tensor *t = &p->tensor[RAPT_S_COEF];
    const bool fixed = t->size[RAPT_S_TOKEN] <= 1 && p->total > 1;
    return p->coef == RAPT_COEF_ONE      ? "none"
           : p->coef == RAPT_COEF_SHARED ? "per token"
           : fixed                       ? "per channel"
                                         : "per token and channel";
}

void rapt_scan_explain_problem(const rapt_plan *plan, rapt_text *t)
{
    const rapt_scan_problem *p = &plan->scan;
    const char *coef = coef_name(p);
    rapt_text_add(t, "scan %s %s%s%s", rapt_dtype_name(p->dtype), rapt_scan_op_name(p->op),
                  p->flags & RAPT_SCAN_BLEND ? ", x times 1 - a" : "", p->flags & RAPT_SCAN_LOG_A ? ", logarithmic" : "");
    if (coef[0])
        rapt_text_add(t, ", %s %s", p->op == RAPT_SCAN_SOFTMAX ? "scores" : "a", coef);
    rapt_text_add(t, p->varlen ? ", %llu packed sequences" : ", batch %llu", (unsigned long long)p->batch);
    rapt_text_add(t, ", heads %llu, tokens %llu, channels %u, %u%s numbers of state%s%s%s%s%s%s%s\n",
                  (unsigned long long)p->heads, (unsigned long long)p->tokens, p->channels, p->states,
                  p->flags & RAPT_SCAN_COMPLEX ? " complex" : "", p->flags & RAPT_SCAN_REVERSE ? ", from the end" : "",
                  p->tensor[RAPT_S_SKIP].present ? ", skip" : "", p->tensor[RAPT_S_Z].present ? ", gate z" : "",
                  p->tensor[RAPT_S_STATE_IN].present ? ", state in" : "",
                  p->tensor[RAPT_S_STATE_OUT].present ? ", state out" : "",
                  p->flags & RAPT_SCAN_IN_PLACE ? " in place" : "", plan->aligned ? "" : ", unaligned");
    if (p->op == RAPT_SCAN_CONV)
        rapt_text_add(t, "taps     %u%s%s, activation %s\n", p->taps[0], p->generated ? " of every token" : "",
                      p->ahead ? ", some of them ahead" : "", rapt_scan_act_name((rapt_scan_act)p->act));
    if (p->op == RAPT_SCAN_CONV2D)
        rapt_text_add(t, "taps     %u x %u, activation %s\n", p->taps[0], p->taps[1],
                      rapt_scan_act_name((rapt_scan_act)p->act));
    if (plan->step_count == 0 || !rapt_scan_recurs(p))
        return;
    if (plan->scan_layout.chunk == 0)
        rapt_text_add(t, "form     recurrent: a chain of %llu steps, in spans of %llu tokens\n",
                      (unsigned long long)plan->scan_layout.chain, (unsigned long long)plan->scan_layout.span);
    else
        rapt_text_add(t, "form     chunked: a chain of %llu steps, two chunks of %u tokens and one step a chunk, in spans of "
                         "%llu tokens\n",
                      (unsigned long long)plan->scan_layout.chain, plan->scan_layout.chunk,
                      (unsigned long long)plan->scan_layout.span);
}

void rapt_scan_explain_problem_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_scan_problem *p = &plan->scan;
    const char *const yes[] = {"false", "true"};
    rapt_text_add(t,
                  "{\"op\":\"scan\",\"dtype\":\"%s\",\"scan\":\"%s\",\"a\":\"%s\",\"log\":%s,\"blend\":%s,\"reverse\":%s,"
                  "\"complex\":%s,\"batch\":%llu,\"varlen\":%s,\"heads\":%llu,\"tokens\":%llu,\"channels\":%u,\"states\":%u,"
                  "\"skip\":%s,\"z\":%s,\"state_in\":%s,\"state_out\":%s,\"in_place\":%s,"
                  "\"taps\":[%u,%u],\"act\":\"%s\",\"aligned\":%s},\"form\":\"%s\",\"chunk\":%u,\"span\":%llu,\"state_chain\":%llu",
                  rapt_dtype_name(p->dtype), rapt_scan_op_name(p->op), coef_name(p), yes[!!(p->flags & RAPT_SCAN_LOG_A)],
                  yes[!!(p->flags & RAPT_SCAN_BLEND)], yes[!!(p->flags & RAPT_SCAN_REVERSE)],
                  yes[!!(p->flags & RAPT_SCAN_COMPLEX)], (unsigned long long)p->batch, yes[p->varlen],
                  (unsigned long long)p->heads, (unsigned long long)p->tokens, p->channels, p->states,
                  yes[p->tensor[RAPT_S_SKIP].present], yes[p->tensor[RAPT_S_Z].present],
                  yes[p->tensor[RAPT_S_STATE_IN].present], yes[p->tensor[RAPT_S_STATE_OUT].present],
                  yes[!!(p->flags & RAPT_SCAN_IN_PLACE)], p->taps[0], p->taps[1],
                  rapt_scan_act_name((rapt_scan_act)p->act), yes[plan->aligned],
                  !rapt_scan_recurs(p) ? "map" : plan->scan_layout.chunk ? "chunked" : "recurrent", plan->scan_layout.chunk,
                  (unsigned long long)plan->scan_layout.span, (unsigned long long)plan->scan_layout.chain);
}
