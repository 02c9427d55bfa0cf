/* The C++ part of librapt_compiler: SPIRV-Tools' optimizer, and the entry, which lets no exception out. */
#include "compiler/compile.h"

#include <spirv-tools/optimizer.hpp>

#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

EXPORT const rapt_compiler_api *rapt_compiler_entry(uint32_t abi);

rapt_status rapt_spirv_optimise(const rapt_allocator *a, uint32_t **words, size_t *count, rapt_error *error)
{
    spvtools::Optimizer optimizer(SPV_ENV_UNIVERSAL_1_6);
    std::string message;
    optimizer.SetMessageConsumer([&message](spv_message_level_t, const char *, const spv_position_t &,
                                            const char *text) {
        if (message.empty())
            message = text;
    });
    optimizer.RegisterPerformancePasses();
    std::vector<uint32_t> result;
    if (!optimizer.Run(*words, *count, &result))
        return rapt_fail(error, RAPT_ERROR_COMPILE, "SPIRV-Tools cannot optimise: %s", message.c_str());
    auto *fresh = static_cast<uint32_t *>(rapt_calloc(a, result.size(), sizeof(uint32_t)));
    if (fresh == nullptr)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for optimised SPIR-V");
    std::memcpy(fresh, result.data(), result.size() * sizeof(uint32_t));
    rapt_free(a, *words, *count * sizeof(uint32_t));
    *words = fresh;
    *count = result.size();
    return RAPT_OK;
}

namespace {

char version[256];
rapt_compiler_api api;

rapt_status compile(const rapt_allocator *a, const rapt_compile_request *request, uint32_t **words, size_t *count,
                    rapt_text *log, rapt_error *error)
{
    try {
        return rapt_glsl_compile(a, request, words, count, log, error);
    } catch (const std::bad_alloc &) {
        *words = nullptr;
        *count = 0;
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory to compile a shader");
    } catch (...) {
        *words = nullptr;
        *count = 0;
        return rapt_fail(error, RAPT_ERROR_COMPILE, "the compiler failed with an exception");
    }
}

bool disassemble(const uint32_t *words, size_t count, rapt_text *out)
{
    try {
        return rapt_glsl_disassemble(words, count, out);
    } catch (...) {
        return false;
    }
}

/* Started by the first call of the entry, stopped when the library is unloaded. */
struct process {
    std::mutex mutex;
    bool started = false;
    ~process()
    {
        if (started)
            rapt_glsl_stop();
    }
} process;

} // namespace

const rapt_compiler_api *rapt_compiler_entry(uint32_t abi)
{
    if (abi != RAPT_COMPILER_ABI)
        return nullptr;
    try {
        std::lock_guard<std::mutex> lock(process.mutex);
        if (!process.started) {
            if (!rapt_glsl_start(version, sizeof version))
                return nullptr;
            api = {RAPT_COMPILER_ABI, version, compile, rapt_glsl_stock_source, disassemble};
            process.started = true;
        }
        return &api;
    } catch (...) {
        return nullptr;
    }
}
