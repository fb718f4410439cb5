// What RocksDB's C API cannot do: a logger that writes nothing, and a checksum by instruction.
//
// RocksDB's own log of its doings lies in the database's folder. When that file meets a full disk,
// the next line written to it fails an assertion (Debian's library has them) and the process
// aborts, where we want to answer 452. So it gets this one instead.
//
// Debian builds the library for any x86-64, so its CRC32C is computed in software: 1.1 us per KB of
// whatever is written to the log, for a message of 10 KB a seventh of all the CPU time that it
// costs us. The library calls the function by way of the dynamic linker, which finds the one
// defined here first. If another build of the library does not ask the linker, or names it
// otherwise, this one is never called and only speed is lost; test_store tells.
extern "C" {
#include "core/crc32c.h"
}

#include <rocksdb/c.h>
#include <rocksdb/env.h>

#include <memory>
#include <new>

// As rocksdb/db/c.cc defines it, where the C API keeps it to itself.
struct rocksdb_logger_t {
    std::shared_ptr<rocksdb::Logger> rep;
};

namespace rocksdb::crc32c
{

// util/crc32c.h there: continues `crc`, unmasked, as ours does.
uint32_t Extend(uint32_t crc, const char *data, size_t len);
uint32_t Extend(uint32_t crc, const char *data, size_t len)
{
    return ::crc32c(crc, span{data, len});
}

} // namespace rocksdb::crc32c

namespace
{

class SilentLogger : public rocksdb::Logger
{
  public:
    using rocksdb::Logger::Logv;
    void LogHeader(const char *, va_list) override
    {
    }
    void Logv(const char *, va_list) override
    {
    }
    void Logv(const rocksdb::InfoLogLevel, const char *, va_list) override
    {
    }
};

} // namespace

extern "C" bool store_silence(rocksdb_options_t *options)
{
    rocksdb_logger_t logger;
    logger.rep.reset(new (std::nothrow) SilentLogger);
    if (!logger.rep)
        return false;
    rocksdb_options_set_info_log(options, &logger);
    return true;
}
