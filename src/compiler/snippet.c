/* The checker of snippets. See snippet.h. */
#include "compiler/snippet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum word_kind {
    WORD_OWN,     /* a name that the snippet, or nobody, has given a meaning */
    WORD_KEYWORD, /* of statements and expressions */
    WORD_TYPE,
    WORD_BUILTIN, /* a function that computes and does nothing else */
    WORD_BUFFER,
    WORD_REFUSED,
} word_kind;

typedef struct word {
    const char *text;
    word_kind kind;
} word;

/* Sorted. What GLSL reserves or defines beyond this is refused below, or means nothing behind a prefix. */
static const word words[] = {
    {"abs", WORD_BUILTIN}, {"acos", WORD_BUILTIN}, {"acosh", WORD_BUILTIN}, {"all", WORD_BUILTIN},
    {"any", WORD_BUILTIN}, {"asin", WORD_BUILTIN}, {"asinh", WORD_BUILTIN}, {"atan", WORD_BUILTIN},
    {"atanh", WORD_BUILTIN}, {"attribute", WORD_REFUSED}, {"barrier", WORD_REFUSED},
    {"bitCount", WORD_BUILTIN}, {"bitfieldExtract", WORD_BUILTIN}, {"bitfieldInsert", WORD_BUILTIN},
    {"bitfieldReverse", WORD_BUILTIN}, {"bool", WORD_TYPE}, {"break", WORD_KEYWORD}, {"buffer", WORD_REFUSED},
    {"bvec2", WORD_TYPE}, {"bvec3", WORD_TYPE}, {"bvec4", WORD_TYPE}, {"case", WORD_KEYWORD},
    {"ceil", WORD_BUILTIN}, {"centroid", WORD_REFUSED}, {"clamp", WORD_BUILTIN}, {"coherent", WORD_REFUSED},
    {"const", WORD_KEYWORD}, {"continue", WORD_KEYWORD}, {"cos", WORD_BUILTIN}, {"cosh", WORD_BUILTIN},
    {"cross", WORD_BUILTIN}, {"default", WORD_KEYWORD}, {"degrees", WORD_BUILTIN}, {"discard", WORD_REFUSED},
    {"distance", WORD_BUILTIN}, {"do", WORD_KEYWORD}, {"dot", WORD_BUILTIN}, {"double", WORD_REFUSED},
    {"else", WORD_KEYWORD}, {"equal", WORD_BUILTIN}, {"exp", WORD_BUILTIN}, {"exp2", WORD_BUILTIN},
    {"false", WORD_KEYWORD}, {"findLSB", WORD_BUILTIN}, {"findMSB", WORD_BUILTIN}, {"flat", WORD_REFUSED},
    {"float", WORD_TYPE}, {"floatBitsToInt", WORD_BUILTIN}, {"floatBitsToUint", WORD_BUILTIN},
    {"floor", WORD_BUILTIN}, {"fma", WORD_BUILTIN}, {"for", WORD_KEYWORD}, {"fract", WORD_BUILTIN},
    {"greaterThan", WORD_BUILTIN}, {"greaterThanEqual", WORD_BUILTIN}, {"groupMemoryBarrier", WORD_REFUSED},
    {"highp", WORD_REFUSED}, {"if", WORD_KEYWORD}, {"in", WORD_KEYWORD}, {"inout", WORD_KEYWORD},
    {"int", WORD_TYPE}, {"intBitsToFloat", WORD_BUILTIN}, {"invariant", WORD_REFUSED},
    {"inversesqrt", WORD_BUILTIN}, {"isinf", WORD_BUILTIN}, {"isnan", WORD_BUILTIN}, {"ivec2", WORD_TYPE},
    {"ivec3", WORD_TYPE}, {"ivec4", WORD_TYPE}, {"layout", WORD_REFUSED}, {"ldexp", WORD_BUILTIN},
    {"length", WORD_BUILTIN}, {"lessThan", WORD_BUILTIN}, {"lessThanEqual", WORD_BUILTIN}, {"log", WORD_BUILTIN},
    {"log2", WORD_BUILTIN}, {"lowp", WORD_REFUSED}, {"mat2", WORD_TYPE}, {"mat2x2", WORD_TYPE},
    {"mat2x3", WORD_TYPE}, {"mat2x4", WORD_TYPE}, {"mat3", WORD_TYPE}, {"mat3x2", WORD_TYPE},
    {"mat3x3", WORD_TYPE}, {"mat3x4", WORD_TYPE}, {"mat4", WORD_TYPE}, {"mat4x2", WORD_TYPE},
    {"mat4x3", WORD_TYPE}, {"mat4x4", WORD_TYPE}, {"max", WORD_BUILTIN}, {"mediump", WORD_REFUSED},
    {"memoryBarrier", WORD_REFUSED}, {"min", WORD_BUILTIN}, {"mix", WORD_BUILTIN}, {"mod", WORD_BUILTIN},
    {"noperspective", WORD_REFUSED}, {"normalize", WORD_BUILTIN}, {"not", WORD_BUILTIN},
    {"notEqual", WORD_BUILTIN}, {"out", WORD_KEYWORD}, {"packHalf2x16", WORD_BUILTIN}, {"patch", WORD_REFUSED},
    {"pow", WORD_BUILTIN}, {"precise", WORD_REFUSED}, {"precision", WORD_REFUSED}, {"radians", WORD_BUILTIN},
    {"readonly", WORD_REFUSED}, {"reflect", WORD_BUILTIN}, {"restrict", WORD_REFUSED}, {"return", WORD_KEYWORD},
    {"round", WORD_BUILTIN}, {"roundEven", WORD_BUILTIN}, {"sample", WORD_REFUSED}, {"shared", WORD_REFUSED},
    {"sign", WORD_BUILTIN}, {"sin", WORD_BUILTIN}, {"sinh", WORD_BUILTIN}, {"smooth", WORD_REFUSED},
    {"smoothstep", WORD_BUILTIN}, {"sqrt", WORD_BUILTIN}, {"step", WORD_BUILTIN}, {"struct", WORD_REFUSED},
    {"subroutine", WORD_REFUSED}, {"switch", WORD_KEYWORD}, {"tan", WORD_BUILTIN}, {"tanh", WORD_BUILTIN},
    {"true", WORD_KEYWORD}, {"trunc", WORD_BUILTIN}, {"uint", WORD_TYPE}, {"uintBitsToFloat", WORD_BUILTIN},
    {"uniform", WORD_REFUSED}, {"unpackHalf2x16", WORD_BUILTIN}, {"user_f", WORD_BUILTIN}, {"uvec2", WORD_TYPE},
    {"uvec3", WORD_TYPE}, {"uvec4", WORD_TYPE}, {"varying", WORD_REFUSED}, {"vec2", WORD_TYPE},
    {"vec3", WORD_TYPE}, {"vec4", WORD_TYPE}, {"void", WORD_TYPE}, {"volatile", WORD_REFUSED},
    {"while", WORD_KEYWORD}, {"writeonly", WORD_REFUSED},
};

/* Names that begin so, and go on with a capital or a digit, do something beyond computing. */
static const char *const refused_prefixes[] = {"atomic", "subgroup", "texture", "texel",    "image",  "uimage", "iimage",
                                               "sampler", "usampler", "isampler", "memoryBarrier", "dFd", "interpolate"};

typedef enum token_kind { TOKEN_WORD, TOKEN_NUMBER, TOKEN_SIGN, TOKEN_END } token_kind;

/* What is written around a token. */
enum {
    AFTER_CONDITION = 1,  /* "(" after it: a loop's condition begins */
    BEFORE_CONDITION = 2, /* ") && usr_tick()" before it: it has ended */
    BEFORE_NOTHING = 4,   /* "usr_tick()" before it: there was none */
    AFTER_INDEX = 8,      /* "min(uint(" after it */
    BEFORE_INDEX = 16,    /* "), uint(name.length() - 1))" before it; `name` is token[partner - 1] */
};

typedef struct token {
    const char *text;
    uint32_t length, line;
    uint8_t kind, word, flags;
    bool field;       /* a word behind a dot */
    uint32_t partner; /* of a bracket: the one that closes or opens it */
} token;

typedef struct function {
    const token *name;
    uint32_t tokens; /* with all calls written out */
} function;

typedef struct checker {
    const rapt_allocator *a;
    const rapt_snippet *snippet;
    token *tokens;
    uint32_t count;
    function functions[RAPT_SNIPPET_FUNCTIONS];
    uint32_t function_count;
    uint32_t elements, required; /* required: tokens of the function that must be there; 0: not seen */
    rapt_error *error;
} checker;

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static word_kind find_word(const char *text, size_t length)
{
    size_t low = 0, high = RAPT_COUNT(words);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strncmp(text, words[middle].text, length);
        if (order == 0 && words[middle].text[length] != '\0')
            order = -1;
        if (order == 0)
            return words[middle].kind;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    for (size_t i = 0; i < RAPT_COUNT(refused_prefixes); i++) {
        size_t prefix = strlen(refused_prefixes[i]);
        if (length > prefix && memcmp(text, refused_prefixes[i], prefix) == 0 &&
            (is_digit(text[prefix]) || (text[prefix] >= 'A' && text[prefix] <= 'Z')))
            return WORD_REFUSED;
    }
    bool reserved = length >= 3 && (memcmp(text, "gl_", 3) == 0 || memcmp(text, "usr", 3) == 0);
    return reserved ? WORD_REFUSED : WORD_OWN;
}

bool rapt_snippet_buffer_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 32 || !is_letter(name[0]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_letter(name[i]) && !is_digit(name[i]))
            return false;
    return find_word(name, length) == WORD_OWN && strcmp(name, "score_mod") != 0 && strcmp(name, "mask_mod") != 0 &&
           strcmp(name, "feature_map") != 0;
}

/* ---- tokens ---- */

#define FAIL(c, line, ...)                                                                                   \
    return rapt_snippet_fail(c, line, __VA_ARGS__), false

static void rapt_snippet_fail(checker *c, uint32_t line, const char *format, ...) RAPT_PRINTF(3, 4);
static void rapt_snippet_fail(checker *c, uint32_t line, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rapt_fail(c->error, RAPT_ERROR_INVALID, "%s:%u: %s", c->snippet->label, line, text);
}

static int shown(const token *t)
{
    return (int)RAPT_MIN(t->length, 60u);
}

/* Skips blanks and comments. false: one does not end. */
static bool skip_blank(checker *c, const char **at, uint32_t *line)
{
    for (;;) {
        const char *s = *at;
        if (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n' || *s == '\v' || *s == '\f') {
            *line += *s == '\n';
            *at = s + 1;
        } else if (s[0] == '/' && s[1] == '/') {
            *at = s + strcspn(s, "\n");
        } else if (s[0] == '/' && s[1] == '*') {
            uint32_t begin = *line;
            for (s += 2; *s != '\0' && !(s[0] == '*' && s[1] == '/'); s++)
                *line += *s == '\n';
            if (*s == '\0')
                FAIL(c, begin, "a comment that does not end");
            *at = s + 2;
        } else {
            return true;
        }
    }
}

static bool scan_word(checker *c, token *t)
{
    while (is_letter(t->text[t->length]) || is_digit(t->text[t->length]))
        t->length++;
    if (t->length > RAPT_SNIPPET_NAME)
        FAIL(c, t->line, "a name of %u characters, at most %u", t->length, RAPT_SNIPPET_NAME);
    t->kind = TOKEN_WORD;
    t->word = (uint8_t)find_word(t->text, t->length);
    t->field = t != c->tokens && t[-1].kind == TOKEN_SIGN && *t[-1].text == '.';
    if (t->field)
        t->word = WORD_OWN;
    for (uint32_t i = 0; i < c->snippet->buffer_count && !t->field; i++)
        if (strlen(c->snippet->buffers[i]) == t->length &&
            memcmp(c->snippet->buffers[i], t->text, t->length) == 0)
            t->word = WORD_BUFFER;
    if (t->word == WORD_REFUSED)
        FAIL(c, t->line, "'%.*s' is not allowed: snippets compute, and do nothing else", shown(t), t->text);
    return true;
}

static bool scan_number(checker *c, token *t)
{
    const char *s = t->text;
    while (is_letter(s[t->length]) || is_digit(s[t->length]) || s[t->length] == '.' ||
           ((s[t->length] == '+' || s[t->length] == '-') && t->length > 0 &&
            (s[t->length - 1] == 'e' || s[t->length - 1] == 'E') && !(s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))))
        t->length++;
    t->kind = TOKEN_NUMBER;
    if (t->length > RAPT_SNIPPET_NAME)
        FAIL(c, t->line, "a number of %u characters, at most %u", t->length, RAPT_SNIPPET_NAME);
    for (uint32_t i = 0; i < t->length; i++)
        if (is_letter(s[i]) && strchr("abcdefABCDEFxXuU", s[i]) == NULL)
            FAIL(c, t->line, "'%.*s' is no float, int or uint", shown(t), s);
    return true;
}

/* Brackets must pair, and not nest too deep. */
static bool pair_brackets(checker *c)
{
    uint32_t open[RAPT_SNIPPET_NESTING], depth = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        token *t = &c->tokens[i];
        if (t->kind != TOKEN_SIGN)
            continue;
        char sign = *t->text;
        if (sign == '(' || sign == '[' || sign == '{') {
            if (depth == RAPT_SNIPPET_NESTING)
                FAIL(c, t->line, "'%c' nests deeper than %u", sign, RAPT_SNIPPET_NESTING);
            open[depth++] = i;
        } else if (sign == ')' || sign == ']' || sign == '}') {
            char want = sign == ')' ? '(' : sign == ']' ? '[' : '{';
            if (depth == 0 || *c->tokens[open[depth - 1]].text != want)
                FAIL(c, t->line, "'%c' closes nothing", sign);
            t->partner = open[--depth];
            c->tokens[t->partner].partner = i;
        }
    }
    if (depth > 0)
        FAIL(c, c->tokens[open[depth - 1]].line, "'%c' is not closed", *c->tokens[open[depth - 1]].text);
    return true;
}

static bool tokenize(checker *c)
{
    const char *at = c->snippet->text;
    uint32_t line = 1;
    for (;;) {
        if (!skip_blank(c, &at, &line))
            return false;
        if (c->count == RAPT_SNIPPET_TOKENS)
            FAIL(c, line, "more than %u tokens", RAPT_SNIPPET_TOKENS);
        token *t = &c->tokens[c->count];
        *t = (token){.text = at, .line = line};
        if (*at == '\0') {
            t->kind = TOKEN_END;
            return pair_brackets(c);
        }
        bool good = true;
        if (is_letter(*at)) {
            good = scan_word(c, t);
        } else if (is_digit(*at) || (*at == '.' && is_digit(at[1]))) {
            good = scan_number(c, t);
        } else if (strchr("(){}[];,.+-*/%<>=!&|^~?:", *at) != NULL) {
            t->kind = TOKEN_SIGN;
            t->length = 1;
        } else if (*at == '#') {
            FAIL(c, line, "'#': no directives in snippets: no #include, #extension or #define");
        } else if (*at >= ' ' && *at <= '~') {
            FAIL(c, line, "'%c' is not GLSL", *at);
        } else {
            FAIL(c, line, "a byte 0x%02x outside of comments: GLSL is plain ASCII", (unsigned)(unsigned char)*at);
        }
        if (!good)
            return false;
        at += t->length;
        c->count++;
    }
}

/* ---- structure ---- */

static bool is_sign(const checker *c, uint32_t i, char sign)
{
    return c->tokens[i].kind == TOKEN_SIGN && *c->tokens[i].text == sign;
}

static bool is_type(const checker *c, uint32_t i)
{
    return c->tokens[i].kind == TOKEN_WORD && c->tokens[i].word == WORD_TYPE;
}

static bool is_text(const checker *c, uint32_t i, const char *text)
{
    const token *t = &c->tokens[i];
    return t->kind == TOKEN_WORD && !t->field && t->length == strlen(text) && memcmp(t->text, text, t->length) == 0;
}

static bool same_text(const token *a, const token *b)
{
    return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/* The size of an array whose '[' is token i: nothing, or a number. */
static bool array_size(checker *c, uint32_t i)
{
    const token *size = &c->tokens[i + 1];
    unsigned long elements = 0;
    if (!is_sign(c, i + 1, ']')) {
        char *end;
        if (size->kind != TOKEN_NUMBER || !is_sign(c, i + 2, ']'))
            FAIL(c, c->tokens[i].line, "the size of an array must be one number");
        elements = strtoul(size->text, &end, 0);
        if ((uint32_t)(end - size->text) + (*end == 'u' || *end == 'U') != size->length || elements == 0)
            FAIL(c, size->line, "'%.*s' is no size of an array", shown(size), size->text);
    }
    if (elements > RAPT_SNIPPET_ELEMENTS || (c->elements += (uint32_t)elements) > RAPT_SNIPPET_ELEMENTS)
        FAIL(c, size->line, "arrays of more than %u elements together", RAPT_SNIPPET_ELEMENTS);
    if (is_sign(c, c->tokens[i].partner + 1, '['))
        FAIL(c, size->line, "arrays have one dimension");
    return true;
}

/* '[' behind a name, a field, ')' or ']': a plain number is the compiler's to check, the rest is clamped. */
static bool index_into(checker *c, uint32_t i)
{
    token *open = &c->tokens[i], *close = &c->tokens[open->partner];
    if (open->partner == i + 2 && c->tokens[i + 1].kind == TOKEN_NUMBER)
        return true;
    const token *base = &c->tokens[i - 1];
    if (base->kind != TOKEN_WORD || base->word != WORD_OWN || base->field)
        FAIL(c, open->line, "a computed index stands behind the name of a variable only");
    open->flags |= AFTER_INDEX;
    close->flags |= BEFORE_INDEX;
    return true;
}

/* The head of a loop whose '(' is token i. */
static bool loop_head(checker *c, uint32_t i, bool is_for)
{
    if (!is_sign(c, i, '('))
        FAIL(c, c->tokens[i].line, "a loop without '('");
    uint32_t begin = i, end = c->tokens[i].partner;
    if (is_for) {
        uint32_t signs[2], found = 0;
        for (uint32_t k = i + 1; k < end; k++) {
            if (is_sign(c, k, '(') || is_sign(c, k, '[') || is_sign(c, k, '{'))
                k = c->tokens[k].partner;
            else if (is_sign(c, k, ';') && found < 2)
                signs[found++] = k;
        }
        if (found < 2)
            FAIL(c, c->tokens[i].line, "'for' needs two ';'");
        begin = signs[0];
        end = signs[1];
    }
    if (end == begin + 1) {
        c->tokens[end].flags |= BEFORE_NOTHING;
    } else {
        c->tokens[begin].flags |= AFTER_CONDITION;
        c->tokens[end].flags |= BEFORE_CONDITION;
    }
    return true;
}

/* What a call at token i adds. */
static bool count_call(checker *c, uint32_t i, const token *self, uint32_t *tokens)
{
    const token *name = &c->tokens[i];
    bool known = false;
    for (uint32_t f = 0; f < c->function_count; f++)
        if (same_text(c->functions[f].name, name)) {
            known = true;
            *tokens += c->functions[f].tokens;
        }
    if (!known && same_text(name, self))
        FAIL(c, name->line, "'%.*s' calls itself", shown(name), name->text);
    if (*tokens > RAPT_SNIPPET_TOKENS)
        FAIL(c, name->line, "more than %u tokens when all calls are written out", RAPT_SNIPPET_TOKENS);
    return true;
}

/* Where a variable is declared: the next name is one of its declarators, or its initial value is being read. */
typedef struct declaration {
    bool open, declarator, array;
    uint32_t depth; /* of its brackets */
} declaration;

/* Whether type i and what follows is a constructor: float(..), float[3](..). */
static bool is_constructor(const checker *c, uint32_t i)
{
    return is_sign(c, i + 1, '(') || (is_sign(c, i + 1, '[') && is_sign(c, c->tokens[i + 1].partner + 1, '('));
}

static bool check_bracket(checker *c, uint32_t i, declaration *d)
{
    if (is_type(c, i - 1)) { /* float[3] */
        d->array = d->array || !is_constructor(c, i - 1);
        return array_size(c, i);
    }
    if (!d->open || !d->declarator)
        return index_into(c, i);
    if (d->array)
        FAIL(c, c->tokens[i].line, "arrays have one dimension");
    return array_size(c, i);
}

static bool check_sign(checker *c, uint32_t i, declaration *d, uint32_t *depth)
{
    switch (*c->tokens[i].text) {
    case '(':
        ++*depth;
        return true;
    case ')':
        --*depth;
        return true;
    case '[':
        ++*depth;
        return check_bracket(c, i, d);
    case ']':
        --*depth;
        return true;
    case '{':
        if (is_sign(c, i - 1, '=') || is_sign(c, i - 1, ',') || is_sign(c, i - 1, '(') || is_sign(c, i - 1, '['))
            FAIL(c, c->tokens[i].line, "'{' in an expression: write arrays as float[2](a, b)");
        *d = (declaration){0};
        return true;
    case '}':
    case ';':
        *d = (declaration){0};
        return true;
    case ',':
        d->declarator = d->open && *depth == d->depth;
        return true;
    case '=':
        d->declarator = false;
        return true;
    default:
        return true;
    }
}

static bool check_word(checker *c, uint32_t i, const token *self, declaration *d, uint32_t depth, uint32_t *tokens)
{
    const token *t = &c->tokens[i];
    const bool call = is_sign(c, i + 1, '(');
    if (is_text(c, i, "in") || is_text(c, i, "out") || is_text(c, i, "inout"))
        FAIL(c, t->line, "'%.*s' belongs to parameters", shown(t), t->text);
    if (c->snippet->kind == RAPT_SNIPPET_FEATURE && is_text(c, i, "user_f"))
        FAIL(c, t->line, "'user_f' goes with score_mod and mask_mod");
    if (is_text(c, i, "void"))
        FAIL(c, t->line, "a function inside a function, or a variable of type void");
    if (is_text(c, i, "for") || is_text(c, i, "while"))
        return loop_head(c, i + 1, *t->text == 'f');
    if (t->word == WORD_TYPE && !is_constructor(c, i))
        *d = (declaration){.open = true, .declarator = true, .depth = depth};
    if (t->word == WORD_BUFFER && !call)
        FAIL(c, t->line, "the user buffer '%.*s' is read as %.*s(index)", shown(t), t->text, shown(t), t->text);
    return !call || t->word != WORD_OWN || count_call(c, i, self, tokens);
}

/* Statements and expressions between tokens `i` and `end`. *tokens: what they come to. */
static bool check_body(checker *c, uint32_t i, uint32_t end, const token *self, uint32_t *tokens)
{
    uint32_t statement = 0, elses = 0, depth = 0;
    declaration d = {0};
    for (; i < end; i++) {
        const token *t = &c->tokens[i];
        ++*tokens;
        statement = is_sign(c, i, ';') || is_sign(c, i, '{') || is_sign(c, i, '}') ? 0 : statement + 1;
        elses += is_text(c, i, "else");
        if (statement > RAPT_SNIPPET_STATEMENT)
            FAIL(c, t->line, "a statement of more than %u tokens", RAPT_SNIPPET_STATEMENT);
        if (elses > RAPT_SNIPPET_ELSES)
            FAIL(c, t->line, "more than %u 'else' in one function", RAPT_SNIPPET_ELSES);
        if (t->kind == TOKEN_SIGN ? !check_sign(c, i, &d, &depth)
                                  : t->kind == TOKEN_WORD && !t->field && !check_word(c, i, self, &d, depth, tokens))
            return false;
    }
    return true;
}

/* The parameters between '(' at token i and its partner; how many, and whether they are as the required function's. */
static bool check_parameters(checker *c, uint32_t i, bool *as_required)
{
    const uint32_t end = c->tokens[i].partner;
    const bool floats = c->snippet->kind != RAPT_SNIPPET_MASK; /* the first is one */
    uint32_t number = 0;
    *as_required = true;
    if (is_text(c, i + 1, "void") && end == i + 2) {
        *as_required = false;
        return true;
    }
    for (i++; i < end; number++) {
        while (is_text(c, i, "const") || is_text(c, i, "in") || is_text(c, i, "out") || is_text(c, i, "inout")) {
            *as_required = false;
            i++;
        }
        if (!is_type(c, i) || is_text(c, i, "void") || c->tokens[i + 1].kind != TOKEN_WORD ||
            c->tokens[i + 1].word == WORD_TYPE || c->tokens[i + 1].word == WORD_KEYWORD)
            FAIL(c, c->tokens[i].line, "'%.*s': a parameter is a type and a name", shown(&c->tokens[i]),
                 c->tokens[i].text);
        *as_required = *as_required && is_text(c, i, floats && number == 0 ? "float" : "uint");
        i += 2;
        if (is_sign(c, i, '[')) {
            *as_required = false;
            if (!array_size(c, i))
                return false;
            i = c->tokens[i].partner + 1;
        }
        if (i < end && !is_sign(c, i, ','))
            FAIL(c, c->tokens[i].line, "'%.*s' among parameters", shown(&c->tokens[i]), c->tokens[i].text);
        i += i < end;
    }
    const bool feature = c->snippet->kind == RAPT_SNIPPET_FEATURE;
    *as_required = *as_required && (number == (floats ? 5 : 4) || (feature && number == 1));
    return true;
}

static const char *required_name(const checker *c)
{
    static const char *const names[] = {"score_mod", "mask_mod", "feature_map"};
    return names[c->snippet->kind];
}

static const char *signature(const checker *c)
{
    static const char *const signatures[] = {
        "float score_mod(float score, uint b, uint h, uint q, uint k)", "bool mask_mod(uint b, uint h, uint q, uint k)",
        "float feature_map(float x) or float feature_map(float x, uint b, uint h, uint t, uint i)"};
    return signatures[c->snippet->kind];
}

static bool check_name(checker *c, const token *name)
{
    if (name->kind != TOKEN_WORD || name->word == WORD_KEYWORD || name->word == WORD_TYPE)
        FAIL(c, name->line, "'%.*s': only whole functions and constants stand at the top level", shown(name),
             name->text);
    if (name->word == WORD_BUILTIN || name->word == WORD_BUFFER)
        FAIL(c, name->line, "'%.*s' is the name of a %s", shown(name), name->text,
             name->word == WORD_BUFFER ? "user buffer" : "built-in function");
    return true;
}

/* const TYPE NAME .. ; from token *i. */
static bool check_constant(checker *c, uint32_t *i)
{
    uint32_t begin = *i + 1, end = begin;
    while (end < c->count && !is_sign(c, end, ';'))
        end++;
    if (end == c->count)
        FAIL(c, c->tokens[*i].line, "a constant that does not end with ';'");
    if (!is_type(c, begin) || is_text(c, begin, "void"))
        FAIL(c, c->tokens[*i].line, "'const' needs a type");
    uint32_t tokens = 0;
    const token *name = &c->tokens[begin + 1];
    if (is_sign(c, begin + 1, '[')) /* const float[3] NAME */
        name = &c->tokens[c->tokens[begin + 1].partner + 1];
    if (!check_name(c, name))
        return false;
    *i = end + 1;
    return check_body(c, begin, end, name, &tokens);
}

/* TYPE NAME ( .. ) { .. } from token *i. */
static bool check_function(checker *c, uint32_t *i)
{
    const token *type = &c->tokens[*i], *name = type + 1;
    const uint32_t open = *i + 2;
    bool as_required;
    if (!is_type(c, *i))
        FAIL(c, type->line, "'%.*s': only whole functions and constants stand at the top level", shown(type),
             type->text);
    if (!check_name(c, name))
        return false;
    if (!is_sign(c, open, '('))
        FAIL(c, name->line, "'%.*s': only whole functions and constants stand at the top level", shown(name),
             name->text);
    if (!check_parameters(c, open, &as_required))
        return false;
    const uint32_t body = c->tokens[open].partner + 1;
    if (!is_sign(c, body, '{'))
        FAIL(c, c->tokens[RAPT_MIN(body, c->count)].line, "'%.*s' has no body: only whole functions are allowed",
             shown(name), name->text);
    if (c->function_count == RAPT_SNIPPET_FUNCTIONS)
        FAIL(c, name->line, "more than %u functions", RAPT_SNIPPET_FUNCTIONS);
    const uint32_t end = c->tokens[body].partner;
    uint32_t tokens = end - *i;
    uint32_t inside = 0;
    if (!check_body(c, body + 1, end, name, &inside))
        return false;
    tokens = tokens - (end - body - 1) + inside;
    if (is_text(c, *i + 1, required_name(c))) {
        if (!as_required || !is_text(c, *i, c->snippet->kind == RAPT_SNIPPET_MASK ? "bool" : "float"))
            FAIL(c, name->line, "'%.*s' must be %s", shown(name), name->text, signature(c));
        c->required = tokens;
    }
    c->functions[c->function_count++] = (function){name, tokens};
    *i = end + 1;
    return true;
}

static bool check_top(checker *c)
{
    for (uint32_t i = 0; i < c->count;) {
        if (is_sign(c, i, ';'))
            i++;
        else if (is_text(c, i, "const") ? !check_constant(c, &i) : !check_function(c, &i))
            return false;
    }
    if (c->required == 0)
        FAIL(c, c->tokens[c->count].line, "there is no %s", signature(c));
    return true;
}

/* ---- what the compiler gets ---- */

static void write_token(const checker *c, const token *t, rapt_text *out)
{
    const unsigned number = c->snippet->number;
    if (t->flags & BEFORE_CONDITION)
        rapt_text_add(out, ") && usr_tick()");
    if (t->flags & BEFORE_NOTHING)
        rapt_text_add(out, "usr_tick()");
    if (t->flags & BEFORE_INDEX) {
        const token *name = &c->tokens[t->partner - 1];
        rapt_text_add(out, "), uint(usr%u_%.*s.length() - 1))", number, (int)name->length, name->text);
    }
    if (t->kind == TOKEN_WORD && t->word == WORD_OWN && !t->field)
        rapt_text_add(out, "usr%u_", number);
    else if (t->kind == TOKEN_WORD && t->word == WORD_BUFFER)
        rapt_text_add(out, "usrb_");
    else if (is_text(c, (uint32_t)(t - c->tokens), "tanh")) /* hook/user.glsl has a faster one */
        rapt_text_add(out, "usr_");
    rapt_text_add(out, "%.*s", (int)t->length, t->text);
    if (t->flags & AFTER_CONDITION)
        rapt_text_add(out, " (");
    if (t->flags & AFTER_INDEX)
        rapt_text_add(out, "min(uint(");
}

/* user_f(3) at token i: the member itself, since drivers make slow code of a computed index into a uniform block. */
static bool write_constant(const checker *c, uint32_t i, rapt_text *out)
{
    const token *t = &c->tokens[i + 2];
    if (!is_text(c, i, "user_f") || !is_sign(c, i + 1, '(') || t->kind != TOKEN_NUMBER || !is_sign(c, i + 3, ')') ||
        t->line != c->tokens[i].line || t->length > 2 || !is_digit(t->text[t->length - 1]) || *t->text == '.')
        return false;
    const unsigned long index = strtoul(t->text, NULL, 10);
    if (index > 15 || (t->length == 2 && *t->text == '0'))
        return false;
    rapt_text_add(out, "p.user_constants[%lu].%c", index / 4, "xyzw"[index % 4]);
    return true;
}

static void write_all(const checker *c, rapt_text *out)
{
    uint32_t line = 1;
    for (uint32_t i = 0; i < c->count; i++) {
        const token *t = &c->tokens[i];
        if (line == t->line && i > 0 && t[-1].text + t[-1].length != t->text)
            rapt_text_add(out, " ");
        for (; line < t->line; line++)
            rapt_text_add(out, "\n");
        if (write_constant(c, i, out))
            i += 3; /* '(', the number and ')' of one line */
        else
            write_token(c, t, out);
    }
    rapt_text_add(out, "\n");
}

rapt_status rapt_snippet_translate(const rapt_allocator *a, const rapt_snippet *snippet, char **out, size_t *size,
                                   uint32_t *tokens, rapt_error *error)
{
    *out = NULL;
    *size = 0;
    const size_t length = strlen(snippet->text);
    if (length > RAPT_SNIPPET_BYTES)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s:1: %zu bytes, at most %u", snippet->label, length,
                         RAPT_SNIPPET_BYTES);
    checker c = {.a = a, .snippet = snippet, .error = error};
    const size_t capacity = RAPT_SNIPPET_TOKENS + 3; /* looking a few tokens ahead meets ends */
    c.tokens = rapt_calloc(a, capacity, sizeof *c.tokens);
    if (c.tokens == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory to check a snippet");
    for (size_t i = 0; i < capacity; i++)
        c.tokens[i].kind = TOKEN_END;
    rapt_status status = RAPT_ERROR_INVALID;
    if (tokenize(&c) && check_top(&c)) {
        rapt_text measure = rapt_text_over(NULL, 0);
        write_all(&c, &measure);
        *size = measure.length + 1;
        *out = rapt_calloc(a, *size, 1);
        status = *out != NULL ? RAPT_OK
                              : rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a snippet's text");
        if (*out != NULL) {
            rapt_text text = rapt_text_over(*out, *size);
            write_all(&c, &text);
        }
        if (tokens != NULL)
            *tokens = c.required;
    }
    rapt_free(a, c.tokens, capacity * sizeof *c.tokens);
    return status;
}

void rapt_snippet_unprefix(char *message)
{
    char *to = message;
    for (const char *from = message; *from != '\0';) {
        bool starts = from == message || !(is_letter(from[-1]) || is_digit(from[-1]));
        if (starts && strncmp(from, "usr", 3) == 0 && (is_digit(from[3]) || from[3] == 'b') && from[4] == '_')
            from += 5;
        else
            *to++ = *from++;
    }
    *to = '\0';
}
