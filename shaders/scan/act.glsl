// Activations, as rapt_scan_act of include/rapt/scan.h; ACT is a specialization constant.
vec4 act(vec4 x)
{
    if (ACT == 1u)
        return x / (1.0 + exp(-x));
    if (ACT == 2u)
        return 1.0 / (1.0 + exp(-x));
    return x;
}
