/* daemon_page: the files of the status page (core/page/), as bytes of the program. */
#pragma once

enum { PAGE_FILES = 3 };

struct page_file {
    const char *path, *type;
    const char *data, *end;
};

extern const struct page_file page_files[PAGE_FILES];
