// What solve.comp leaves in the workspace of a chunk for leap.comp, in floats, one part behind the other:
//
//   reads[DIM / 4][CHUNK][4]  what a token takes from the state that the chunk begins with, by four rows of it: token t adds
//                             row 4 i + r of the state times reads[i][t][r] to news[t], a row over the columns
//   asks[DIM / 4][CHUNK][4]   the same of outputs: queries, decayed and scaled
//   shares[SETS][CHUNK / 4][CHUNK][4] how much of news[4 j + r] (of set 1: of the token's value) is in output t; 0 beyond t
//   writes[SETS][CHUNK][DIM]  the keys that news (set 1: values) are multiplied by, decayed to the end of the chunk
//   decays[DIM]               what the chunk multiplies the rows of the state by
//   news[columns / 4][CHUNK][4] what a token adds to the state, but for what it reads: columns as many as chunk_pitch
//
// Include after constants 1 D_K and 11 CHUNK; RULE is a define. A workgroup has 128 invocations: PARTS for each token of a chunk.
#define SETS (RULE == 2 ? 2u : 1u)
const uint PARTS = 128u / CHUNK;
const uint PART_QUADS = (D_K + PARTS * 4u - 1u) / (PARTS * 4u); // of rows of the state, in a part
const uint DIM_QUADS = PART_QUADS * PARTS, DIM = DIM_QUADS * 4u; // d_k, padded with zeros: step_pitch
// In units of four floats.
const uint AT_READS = 0u, AT_ASKS = DIM_QUADS * CHUNK, AT_SHARES = AT_ASKS + DIM_QUADS * CHUNK,
           AT_WRITES = AT_SHARES + SETS * CHUNK * CHUNK / 4u, AT_DECAYS = AT_WRITES + SETS * CHUNK * DIM_QUADS,
           AT_NEWS = AT_DECAYS + DIM_QUADS;
// Of one set.
#define SHARES (CHUNK * CHUNK / 4u)
#define WRITES (CHUNK * DIM_QUADS)
