// Google Benchmark for C.
extern "C" {
#include "bench/micro.h"
}

#include <benchmark/benchmark.h>

struct micro {
    benchmark::State &state;
};

extern "C" bool micro_next(struct micro *micro)
{
    return micro->state.KeepRunning();
}

extern "C" void micro_items(struct micro *micro, uint64_t per_iteration)
{
    micro->state.SetItemsProcessed(static_cast<int64_t>(per_iteration) * micro->state.iterations());
}

extern "C" void micro_bytes(struct micro *micro, uint64_t per_iteration)
{
    micro->state.SetBytesProcessed(static_cast<int64_t>(per_iteration) * micro->state.iterations());
}

extern "C" void micro_register(const struct micro_case *cases)
{
    for (; cases->name; cases++) {
        micro_run *run = cases->run;
        benchmark::RegisterBenchmark(cases->name, [run](benchmark::State &state) {
            struct micro micro = {state};
            run(&micro);
        });
    }
}

extern "C" int micro_main(int argc, char **argv)
{
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
