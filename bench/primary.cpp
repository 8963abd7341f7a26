// The smallest application that dpdk-dumpcap and dpdk-pdump can look into: it receives from port 0
// and frees what came. How many packets that were stands in a file, for whoever wants a rate.
#include <fcntl.h>
#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pdump.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace {

constexpr std::uint16_t kPort = 0;
constexpr std::uint16_t kBurst = 64;
constexpr std::uint16_t kDescriptors = 1024;
constexpr unsigned kMbufs = 65535;

volatile std::sig_atomic_t g_stop = 0;

int failed(const std::string& what) {
    std::fprintf(stderr, "primary: %s\n", what.c_str());
    return 1;
}

// A word in a file that others map as well; nullptr if there cannot be one.
std::uint64_t* map_counter(const char* path) {
    const int fd = ::open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return nullptr;
    void* at = MAP_FAILED;
    if (::ftruncate(fd, sizeof(std::uint64_t)) == 0)
        at = ::mmap(nullptr, sizeof(std::uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return at == MAP_FAILED ? nullptr : static_cast<std::uint64_t*>(at);
}

int start_port(rte_mempool* pool) {
    rte_eth_conf conf{};
    int rc = rte_eth_dev_configure(kPort, 1, 1, &conf);
    if (rc == 0) rc = rte_eth_rx_queue_setup(kPort, 0, kDescriptors, 0, nullptr, pool);
    if (rc == 0) rc = rte_eth_tx_queue_setup(kPort, 0, kDescriptors, 0, nullptr);
    if (rc == 0) rc = rte_eth_dev_start(kPort);
    return rc;
}

void receive(std::uint64_t& counter) {
    const std::atomic_ref<std::uint64_t> shared(counter);
    std::array<rte_mbuf*, kBurst> packets;
    std::uint64_t received = 0;
    while (g_stop == 0) {
        const std::uint16_t n = rte_eth_rx_burst(kPort, 0, packets.data(), kBurst);
        if (n == 0) continue;
        rte_pktmbuf_free_bulk(packets.data(), n);
        received += n;
        shared.store(received, std::memory_order_relaxed);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int used = rte_eal_init(argc, argv);
    if (used < 0) return failed("EAL does not start");
    argc -= used;
    argv += used;
    if (argc != 3 || std::string_view(argv[1]) != "--count")
        return failed("expected \"EAL's arguments -- --count FILE\"");
    std::uint64_t* counter = map_counter(argv[2]);
    if (counter == nullptr) return failed(fmt::format("{}: cannot be created and mapped", argv[2]));
    if (rte_eth_dev_count_avail() != 1)
        return failed(fmt::format("{} ports, expected one --vdev", rte_eth_dev_count_avail()));
    rte_mempool* pool = rte_pktmbuf_pool_create("primary", kMbufs, 256, 0,
                                                RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool == nullptr) return failed(fmt::format("no memory for {} mbufs", kMbufs));
    if (const int rc = start_port(pool); rc != 0)
        return failed(fmt::format("port 0 does not start: {}", rte_strerror(-rc)));
    if (const int rc = rte_pdump_init(); rc != 0)
        return failed(fmt::format("pdump does not start: {}", rte_strerror(-rc)));

    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { g_stop = 1; });
    std::puts("receiving");
    std::fflush(stdout);
    receive(*counter);
    rte_pdump_uninit();
    rte_eth_dev_stop(kPort);
    rte_eal_cleanup();
    return 0;
}
