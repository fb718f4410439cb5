/* The assembler reads the files, so they stay files that an editor and a browser know. PAGE_FOLDER
 * is set by CMakeLists.txt, which also builds this anew when one of them changes. */
#include "core/daemon_page.h"

#define EMBED(name, file)                                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            ".global page_" #name "\npage_" #name ":\n.incbin \"" PAGE_FOLDER "/" file "\"\n"      \
            ".global page_" #name "_end\npage_" #name "_end:\n.byte 0\n.popsection\n");            \
    extern const char page_##name[], page_##name##_end[]

EMBED(html, "status.html");
EMBED(css, "status.css");
EMBED(js, "status.js");

const struct page_file page_files[PAGE_FILES] = {
    {"/", "text/html; charset=utf-8", page_html, page_html_end},
    {"/status.css", "text/css; charset=utf-8", page_css, page_css_end},
    {"/status.js", "text/javascript; charset=utf-8", page_js, page_js_end},
};
