// The one thing that RocksDB's C API cannot do: a logger that writes nothing.
//
// RocksDB's own log of its doings lies in the database's folder. When that file meets a full disk,
// the next line written to it fails an assertion (Debian's library has them) and the process aborts,
// where we want to answer 452. So it gets this one instead.
#include <rocksdb/c.h>
#include <rocksdb/env.h>

#include <memory>
#include <new>

// As rocksdb/db/c.cc defines it, where the C API keeps it to itself.
struct rocksdb_logger_t {
    std::shared_ptr<rocksdb::Logger> rep;
};

namespace {

class SilentLogger : public rocksdb::Logger {
  public:
    using rocksdb::Logger::Logv;
    void LogHeader(const char *, va_list) override {}
    void Logv(const char *, va_list) override {}
    void Logv(const rocksdb::InfoLogLevel, const char *, va_list) override {}
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
