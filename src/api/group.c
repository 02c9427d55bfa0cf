/* Groups of devices: making, asking, waiting, destroying. */
#include "api/group.h"

#include "vk/exec.h"

static rapt_status check_devices(rapt_device *const *devices, uint32_t count, rapt_error *error)
{
    if (devices == NULL || count < 1 || count > RAPT_GROUP_MAX)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a group has 1 to %u devices, not %u", RAPT_GROUP_MAX,
                         devices != NULL ? count : 0);
    for (uint32_t i = 0; i < count; i++) {
        if (devices[i] == NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID, "device %u of the group is NULL", i);
        for (uint32_t k = 0; k < i; k++)
            if (devices[i] == devices[k])
                return rapt_fail(error, RAPT_ERROR_INVALID, "devices %u and %u of the group are the same", k, i);
    }
    return RAPT_OK;
}

rapt_status rapt_group_create(rapt_device *const *devices, uint32_t count, const rapt_group_options *given,
                              rapt_group **out, rapt_error *error)
{
    rapt_group_options options = RAPT_GROUP_OPTIONS_INIT;
    if (out == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_group_create: group is NULL");
    *out = NULL;
    rapt_status status = check_devices(devices, count, error);
    if (status != RAPT_OK)
        return status;
    if (given != NULL && given->struct_size < sizeof options)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_group_options.struct_size is %u, expected %zu",
                         given->struct_size, sizeof options);
    if (given != NULL)
        options = *given;
    if (!(options.deadline_ms >= 0) || options.deadline_ms > 600000)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_group_options.deadline_ms is %g, must be 0 to 600,000",
                         (double)options.deadline_ms);
    if (options.parts > 1024)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_group_options.parts is %u, must be 0 to 1,024", options.parts);
    const rapt_allocator *a = &devices[0]->runtime->allocator;
    rapt_group *group = rapt_calloc(a, 1, sizeof *group);
    if (group == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a group");
    if (options.parts == 0)
        options.parts = 8;
    group->allocator = *a;
    group->parts = options.parts;
    group->whole_keys = options.whole_keys != 0;
    group->timeout = (uint64_t)((options.deadline_ms > 0 ? (double)options.deadline_ms : 10000.0) * 1e6);
    status = rapt_pool_create(a, devices, count, &options, &group->pool, error);
    if (status != RAPT_OK) {
        rapt_free(a, group, sizeof *group);
        return status;
    }
    *out = group;
    return RAPT_OK;
}

static void drop_kept(rapt_group_kept *kept)
{
    rapt_binding_destroy(&kept->binding);
    rapt_plan_destroy(&kept->plan);
}

static void drop_all_kept(rapt_group_seat *seat)
{
    for (uint32_t i = 0; i < RAPT_GROUP_KEPT; i++)
        drop_kept(&seat->kept[i]);
}

/* Whether the plan's slices are as long as they should be on a device that has shown `now` flops a second; 0: nothing yet. */
static bool is_cut_well(const rapt_plan *plan, double now)
{
    const double slices = RAPT_MAX(plan->slice_count, 1), then = plan->flops_per_second;
    if (now <= 0 || (now <= 1.5 * then && now >= 0.67 * then))
        return true;
    return now > then ? slices <= 1 : (double)plan->problem.flops / slices <= now * (double)plan->problem.slice_ms * 1e-3;
}

bool rapt_group_take_kept(rapt_device *device, rapt_group_seat *seat, rapt_hash key, rapt_plan **plan, rapt_binding **binding)
{
    for (uint32_t i = 0; i < RAPT_GROUP_KEPT; i++) {
        rapt_group_kept *kept = &seat->kept[i];
        if (kept->plan == NULL || !rapt_hash_equal(kept->key, key))
            continue;
        if (!is_cut_well(kept->plan, rapt_device_throughput(device, NULL))) {
            drop_kept(kept);
            return false;
        }
        *plan = kept->plan;
        *binding = kept->binding;
        kept->plan = NULL;
        kept->binding = NULL;
        return true;
    }
    return false;
}

void rapt_group_keep(rapt_group_seat *seat, rapt_hash key, uint64_t call, rapt_plan *plan, rapt_binding *binding)
{
    rapt_group_kept *to = &seat->kept[0];
    for (uint32_t i = 1; i < RAPT_GROUP_KEPT && to->plan != NULL; i++)
        if (seat->kept[i].plan == NULL || seat->kept[i].call < to->call)
            to = &seat->kept[i];
    drop_kept(to);
    *to = (rapt_group_kept){.key = key, .plan = plan, .binding = binding, .call = call};
}

void rapt_group_trim(rapt_group *group, uint32_t member)
{
    rapt_group_seat *seat = &group->seats[member];
    drop_all_kept(seat);
    for (uint32_t i = 0; i < RAPT_PLACES; i++) {
        rapt_buffer_destroy(&seat->places[i].buffer);
        seat->places[i].call = 0;
    }
    if (seat->scratch != NULL)
        rapt_free(&group->allocator, seat->scratch, seat->scratch_bytes);
    seat->scratch = NULL;
    seat->scratch_bytes = 0;
}

rapt_status rapt_group_take_place(rapt_device *device, rapt_group_seat *seat, unsigned index, uint64_t bytes, rapt_error *error)
{
    rapt_place *place = &seat->places[index];
    if (place->buffer != NULL && rapt_buffer_size(place->buffer) < bytes) {
        drop_all_kept(seat);
        rapt_buffer_destroy(&place->buffer);
    }
    if (place->buffer != NULL)
        return RAPT_OK;
    place->call = 0;
    return rapt_buffer_create(device, bytes, &place->buffer, error);
}

rapt_status rapt_group_take_scratch(rapt_group *group, rapt_group_seat *seat, uint64_t bytes, rapt_error *error)
{
    if (seat->scratch_bytes >= bytes)
        return RAPT_OK;
    if (seat->scratch != NULL)
        rapt_free(&group->allocator, seat->scratch, seat->scratch_bytes);
    seat->scratch = rapt_calloc(&group->allocator, (size_t)bytes, 1);
    seat->scratch_bytes = seat->scratch != NULL ? (size_t)bytes : 0;
    return seat->scratch != NULL
               ? RAPT_OK
               : rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %llu bytes of a tensor with gaps",
                           (unsigned long long)bytes);
}

void rapt_group_destroy(rapt_group **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    rapt_group *group = *handle;
    const rapt_allocator a = group->allocator;
    const uint32_t count = rapt_pool_count(group->pool);
    *handle = NULL;
    rapt_pool_destroy(&group->pool);
    for (uint32_t i = 0; i < count; i++)
        rapt_group_trim(group, i);
    rapt_group_merge_free(group->merge);
    rapt_free(&a, group, sizeof *group);
}

static rapt_status check_member(const rapt_group *group, uint32_t member, rapt_error *error)
{
    if (group == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "group is NULL");
    if (member >= rapt_pool_count(group->pool))
        return rapt_fail(error, RAPT_ERROR_INVALID, "there is no member %u, the group has %u", member,
                         rapt_pool_count(group->pool));
    return RAPT_OK;
}

rapt_status rapt_group_set_device(rapt_group *group, uint32_t member, rapt_device *device, rapt_error *error)
{
    rapt_status status = check_member(group, member, error);
    for (uint32_t i = 0; status == RAPT_OK && device != NULL && i < rapt_pool_count(group->pool); i++)
        if (i != member && rapt_pool_device(group->pool, i) == device)
            return rapt_fail(error, RAPT_ERROR_INVALID, "the device is member %u already", i);
    if (status == RAPT_OK) /* nobody first, so that what is kept on the old device is no one's when it goes */
        status = rapt_pool_set_device(group->pool, member, NULL, error);
    if (status != RAPT_OK)
        return status;
    rapt_group_trim(group, member);
    return device != NULL ? rapt_pool_set_device(group->pool, member, device, error) : RAPT_OK;
}

uint32_t rapt_group_count(const rapt_group *group)
{
    return group != NULL ? rapt_pool_count(group->pool) : 0;
}

rapt_status rapt_group_describe(rapt_group *group, uint32_t member, rapt_group_member *out, rapt_error *error)
{
    rapt_status status = check_member(group, member, error);
    if (status != RAPT_OK)
        return status;
    if (out == NULL || out->struct_size < sizeof *out)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_group_member.struct_size is %u, expected %zu",
                         out != NULL ? out->struct_size : 0, sizeof *out);
    rapt_pool_describe(group->pool, member, out);
    return RAPT_OK;
}

rapt_status rapt_group_wait(rapt_group *group, uint64_t timeout, rapt_error *error)
{
    if (group == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "group is NULL");
    const uint64_t begin = rapt_now_ns();
    rapt_status status = rapt_pool_wait(group->pool, timeout, error);
    if (status == RAPT_ERROR_TIMEOUT || group->merge == NULL)
        return status;
    rapt_group_merge *merge = group->merge;
    group->merge = NULL;
    if (status != RAPT_OK) {
        rapt_group_merge_free(merge);
        return status;
    }
    status = rapt_group_merge_begin(merge, error);
    const uint64_t gone = rapt_now_ns() - begin;
    return status == RAPT_OK ? rapt_pool_wait(group->pool, timeout > gone ? timeout - gone : 0, error) : status;
}

rapt_status rapt_group_attention(rapt_group *group, const rapt_attention_desc *desc,
                                 const rapt_group_attention_args *args, rapt_error *error)
{
    rapt_status status = rapt_group_attention_begin(group, desc, args, error);
    return status == RAPT_OK ? rapt_group_wait(group, UINT64_MAX, error) : status;
}
