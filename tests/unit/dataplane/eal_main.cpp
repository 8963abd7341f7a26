#define CATCH_CONFIG_RUNNER
#include <rte_eal.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#if defined(__SANITIZE_THREAD__)
// The pool's ring lives in a library that TSan does not see into, so that it would miss how one
// lcore's free comes before another's allocation. This is a ring under a lock, compiled here.
namespace {

std::mutex pool_lock;

int visible_alloc(rte_mempool* mp) {
    char name[RTE_RING_NAMESIZE];
    std::snprintf(name, sizeof(name), "V_%s", mp->name);
    mp->pool_data = rte_ring_create(name, mp->size, SOCKET_ID_ANY, RING_F_EXACT_SZ);
    return mp->pool_data == nullptr ? -ENOMEM : 0;
}
rte_ring* ring_of(const rte_mempool* mp) { return static_cast<rte_ring*>(mp->pool_data); }
void visible_free(rte_mempool* mp) { rte_ring_free(ring_of(mp)); }
int visible_enqueue(rte_mempool* mp, void* const* objects, unsigned n) {
    const std::lock_guard guard(pool_lock);
    return rte_ring_sp_enqueue_bulk(ring_of(mp), objects, n, nullptr) == 0 ? -ENOBUFS : 0;
}
int visible_dequeue(rte_mempool* mp, void** objects, unsigned n) {
    const std::lock_guard guard(pool_lock);
    return rte_ring_sc_dequeue_bulk(ring_of(mp), objects, n, nullptr) == 0 ? -ENOBUFS : 0;
}
unsigned visible_count(const rte_mempool* mp) { return rte_ring_count(ring_of(mp)); }

void register_visible_ops() {
    rte_mempool_ops ops{};
    std::snprintf(ops.name, sizeof(ops.name), "visible");
    ops.alloc = visible_alloc;
    ops.free = visible_free;
    ops.enqueue = visible_enqueue;
    ops.dequeue = visible_dequeue;
    ops.get_count = visible_count;
    rte_mempool_register_ops(&ops);
}

}  // namespace
#endif

int main(int argc, char* argv[]) {
    std::vector<std::string> args = {argv[0], "--no-huge", "-m", "128", "--no-pci",
                                     "--no-telemetry", "--log-level=lib.*:error",
                                     "--log-level=pmd.*:error",
                                     "--file-prefix=dp" + std::to_string(getpid()), "--lcores",
                                     "0@0-1,1@0,2@1,3@1"};
#if defined(__SANITIZE_THREAD__)
    register_visible_ops();
    args.push_back("--mbuf-pool-ops-name=visible");
#endif
    std::vector<char*> raw;
    for (std::string& a : args) raw.push_back(a.data());
    if (rte_eal_init(static_cast<int>(raw.size()), raw.data()) < 0) {
        std::fprintf(stderr, "EAL did not start\n");
        return 1;
    }
    const int failed = Catch::Session().run(argc, argv);
    rte_eal_cleanup();
    return failed;
}
