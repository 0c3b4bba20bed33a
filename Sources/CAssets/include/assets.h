#ifndef AURUM_ASSETS_H
#define AURUM_ASSETS_H
#include <stddef.h>

/// One file embedded in the binary. `bytes` lives as long as the process.
typedef struct {
    const char *name;
    const unsigned char *bytes;
    size_t length;
} aurum_asset;

/// All embedded files; ends with an entry whose name is NULL.
const aurum_asset *aurum_assets(void);
#endif
