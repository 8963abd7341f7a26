#pragma once

#include <rte_mempool.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace sluice::dp {

// The packet pool of a process.
class Mempool {
  public:
    struct Options {
        std::string name = "mbufs";
        std::uint32_t count = 0;
        std::uint32_t cache = 256;
        // Bytes of packet data an mbuf holds, without headroom.
        std::uint32_t data_size = 2048;
    };

    static Result<std::unique_ptr<Mempool>> create(const Options& options);
    ~Mempool();
    Mempool(const Mempool&) = delete;
    Mempool& operator=(const Mempool&) = delete;

    rte_mempool* get() const noexcept { return pool_; }
    std::uint32_t size() const noexcept { return pool_->size; }
    // Exact only while no lcore runs.
    std::uint32_t in_use() const noexcept { return rte_mempool_in_use_count(pool_); }

  private:
    explicit Mempool(rte_mempool* pool) noexcept : pool_(pool) {}
    rte_mempool* pool_;
};

}  // namespace sluice::dp
