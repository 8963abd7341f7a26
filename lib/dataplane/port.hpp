#pragma once

#include <rte_ethdev.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "dataplane/mempool.hpp"

namespace sluice::dp {

struct PortOptions {
    std::string name;    // how the operator calls it
    std::string device;  // an ethdev name or PCI address, or devargs ("net_vhost0,iface=...")
    std::uint16_t rx_queues = 1;
    std::uint16_t tx_queues = 1;
    std::uint16_t rx_descriptors = 1024;
    std::uint16_t tx_descriptors = 1024;
    std::uint32_t mtu = 0;       // 0: the device's default
    bool promiscuous = false;
    bool scatter = false;        // receive packets longer than an mbuf in several
    bool timestamps = false;     // let the port stamp what it receives, if it can
    bool interrupts = true;      // so that an idle lcore can sleep on it
    std::string where;           // "file:line" for errors
};

struct PortInfo {
    std::string name, device, driver, mac;
    std::uint16_t id = 0;
    bool link_up = false;
    std::uint32_t speed_mbps = 0;
    std::uint16_t rx_queues = 0, tx_queues = 0, rx_descriptors = 0, tx_descriptors = 0;
    std::uint32_t mtu = 0;
    int socket = 0;
    bool promiscuous = false;
    std::uint64_t tx_offloads = 0;
};

struct PortStats {
    std::uint64_t rx_packets = 0, rx_bytes = 0, rx_missed = 0, rx_errors = 0, rx_no_mbuf = 0;
    std::uint64_t tx_packets = 0, tx_bytes = 0, tx_errors = 0;
};

// An ethdev, of whatever driver: opened (hot-plugged if it is a virtual device), configured, and
// closed by its owner. All functions but rx and tx are for the control thread.
class Port {
  public:
    static Result<std::unique_ptr<Port>> open(const PortOptions& options, const Mempool& pool);
    ~Port();
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    Result<> start();
    void stop() noexcept;
    // Gives the device up and makes it anew: what a virtio-user device needs whose vhost-user
    // server has gone, because it does not connect again by itself. No lcore may be in rx or tx.
    // On failure the port stays closed, and this may be tried again.
    Result<> replug(const Mempool& pool);
    // Looks at the link, for drivers that do not tell.
    void refresh_link() noexcept;
    bool started() const noexcept { return started_.load(std::memory_order_acquire); }

    std::uint16_t id() const noexcept { return id_; }
    const std::string& name() const noexcept { return options_.name; }
    const PortOptions& options() const noexcept { return options_; }
    const std::string& driver() const noexcept { return driver_; }
    bool is_vhost() const noexcept { return driver_ == "net_vhost"; }
    bool is_virtio() const noexcept {
        return driver_ == "net_virtio" || driver_ == "net_virtio_user";
    }
    bool interrupts() const noexcept { return interrupts_; }
    // How often the device has been made anew.
    unsigned incarnation() const noexcept { return incarnation_.load(std::memory_order_acquire); }

    // Last state the device reported; safe on any thread.
    bool link_up() const noexcept { return link_up_.load(std::memory_order_acquire); }
    // Called on the device's own thread when the state changes (and once at start). Set before
    // start(); must only note the fact and wake somebody.
    void on_link_change(std::function<void(bool up)> f) { link_changed_ = std::move(f); }

    PortInfo info() const;
    PortStats stats() const;
    // Driver's own, by name; as they count from the last clear.
    std::vector<std::pair<std::string, std::uint64_t>> xstats() const;
    void clear_stats();

    // lcore
    std::uint16_t rx(std::uint16_t queue, rte_mbuf** packets, std::uint16_t count) const noexcept {
        return rte_eth_rx_burst(id_, queue, packets, count);
    }
    std::uint16_t tx(std::uint16_t queue, rte_mbuf** packets, std::uint16_t count) const noexcept {
        return rte_eth_tx_burst(id_, queue, packets, count);
    }

  private:
    Port(PortOptions options, std::uint16_t id, bool plugged);
    Result<> configure(const Mempool& pool);
    Result<> setup_queues(const Mempool& pool, const rte_eth_dev_info& info,
                          const rte_eth_conf& conf);
    static int lsc_event(std::uint16_t port, rte_eth_event_type type, void* self, void* ret);
    void close() noexcept;

    PortOptions options_;
    std::uint16_t id_;
    bool plugged_;  // we created the device, so we remove it
    bool open_ = true;
    std::atomic<unsigned> incarnation_{0};
    std::atomic<bool> started_{false};  // the device's own thread asks too
    bool interrupts_ = false;
    std::uint64_t tx_offloads_ = 0;
    std::string driver_;
    std::string device_name_;
    std::atomic<bool> link_up_{false};
    std::function<void(bool)> link_changed_;
    PortStats cleared_{};
};

}  // namespace sluice::dp
