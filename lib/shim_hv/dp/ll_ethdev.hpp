#pragma once

#include <array>
#include <atomic>

#include "dataplane/port.hpp"
#include "dataplane/port_stages.hpp"
#include "shim_hv/dp/vmpi_impl.hpp"

namespace sluice::shim_hv {

// VMPI-LL over virtqueues by DPDK's drivers: net_vhost on the host, virtio-user or the virtio PCI
// driver in the guest. Any other ethdev that carries frames of arbitrary content will do as well.
class LowLevelEthdev : public VmpiLowLevel {
  public:
    struct Options {
        std::uint32_t frame_max = 65004;
        // Whether our receive ring takes messages longer than one buffer; unset: as the device
        // arguments say (mrg_rxbuf=), otherwise yes.
        bool mergeable = true;
        std::uint32_t buffer_size = 2048;  // data bytes of an mbuf
        rte_mempool* pool = nullptr;
    };
    LowLevelEthdev(dp::Port& port, const Options& options);

    unsigned peek(std::span<VmpiView> views) noexcept override;
    unsigned take(std::span<const std::uint16_t> which, rte_mbuf** out) noexcept override;
    void release() noexcept override;
    unsigned send(rte_mbuf** packets, unsigned count) noexcept override;
    unsigned reserve(std::span<const std::uint32_t> sizes,
                     std::span<std::span<std::byte>> spaces) noexcept override;
    unsigned commit(unsigned count) noexcept override;
    bool never_fits(const rte_mbuf* packet) noexcept override;
    void show(dp::LoopCtx& ctx, dp::PacketTap& tap) noexcept override;
    dp::Wait arm(int epoll_fd) noexcept override;
    void disarm() noexcept override;
    bool link_up() const noexcept override { return port_.link_up(); }
    std::uint64_t link_changes() const noexcept override {
        return changes_.load(std::memory_order_acquire);
    }
    VmpiLimits limits() const noexcept override;

    // Control thread: called (on the device's thread) after each change of the link.
    void on_link_change(std::function<void()> wake);
    // Control thread: while suspended the lcore leaves the port alone, from its next quiescent
    // state on.
    void suspend(bool on) noexcept { suspended_.store(on, std::memory_order_release); }

  private:
    bool usable() const noexcept { return !suspended_.load(std::memory_order_acquire); }

    dp::Port& port_;
    const Options options_;
    dp::PortWaiter waiter_;
    std::atomic<std::uint64_t> changes_{0};
    std::atomic<bool> suspended_{false};

    // lcore only
    std::array<rte_mbuf*, dp::kRxBurst> rx_{};
    unsigned rx_count_ = 0;
    bool rx_left_ = false;  // rx_ was filled by arm(), not yet shown
    std::array<rte_mbuf*, dp::kRxBurst> reserved_{};
    unsigned reserved_count_ = 0;
};

}  // namespace sluice::shim_hv
