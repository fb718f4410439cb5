/* micro: see micro.h. Options are Google Benchmark's: --benchmark_filter=, --benchmark_format=json.
 */
#include "bench/micro.h"

int main(int argc, char **argv)
{
    micro_register(micro_core_cases);
    micro_register(micro_smtp_cases);
    micro_register(micro_queue_cases);
    micro_register(micro_sign_cases);
    return micro_main(argc, argv);
}
