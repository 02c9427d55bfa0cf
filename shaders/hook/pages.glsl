// Hook "pages": where a key lies. Part of hook/walk.glsl.
//
// Keys and values lie in rows of their own sequence, one after another; or, with RAPT_PARAM_PAGED, in pages of a pool: key j of
// a batch entry is slot j % page_size of page table[b, j / page_size], and the strides of batch are then those of pages. An entry
// of the table that names no page is a hole: no query sees the keys there, and nothing is read for them but page 0 or the last.

// Where the table of a batch entry begins.
uint page_line(uint batch) { return pc.x_base + p.x_pages + batch * p.x_pages_stride_b; }

// An entry of it, `pages` or more for a hole.
uint page_entry(uint line, uint number) { return EXTRA_WORD(line + number); }
uint page_of_entry(uint entry) { return min(entry, p.pages - 1u); }

// From the first element of a head (k_head_index, v_head_index) to that of a key, or of its value.
uint key_offset(uint line, uint key, uint stride_page, uint stride_key)
{
    if (IS_PAGED) {
        uint number = key / p.page_size;
        return page_of_entry(page_entry(line, number)) * stride_page + (key - number * p.page_size) * stride_key;
    }
    return key * stride_key;
}

bool key_has_page(uint line, uint key) { return page_entry(line, key / p.page_size) < p.pages; }

// Whether all of the keys [key, end) have pages.
bool keys_have_pages(uint line, uint key, uint end)
{
    bool all = true;
    for (uint number = key / p.page_size; number * p.page_size < end; number++)
        all = page_entry(line, number) < p.pages && all;
    return all;
}
