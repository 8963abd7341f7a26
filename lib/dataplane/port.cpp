#include "dataplane/port.hpp"

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ether.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/log.hpp"

namespace sluice::dp {
namespace {

std::string at(const std::string& where) { return where.empty() ? "" : where + ": "; }

PortStats minus(PortStats a, const PortStats& b) {
    a.rx_packets -= b.rx_packets;
    a.rx_bytes -= b.rx_bytes;
    a.rx_missed -= b.rx_missed;
    a.rx_errors -= b.rx_errors;
    a.rx_no_mbuf -= b.rx_no_mbuf;
    a.tx_packets -= b.tx_packets;
    a.tx_bytes -= b.tx_bytes;
    a.tx_errors -= b.tx_errors;
    return a;
}

// A device that exists by this name or number, or one made from devargs.
struct Found {
    std::uint16_t id;
    bool plugged;
};

Result<Found> find_or_plug(const PortOptions& o) {
    const std::string name = o.device.substr(0, o.device.find(','));
    if (name.empty())
        return fail(EINVAL, "{}port '{}' names no device, expected devargs such as "
                    "net_vhost0,iface=PATH or a PCI address", at(o.where), o.name);
    std::uint16_t id = 0;
    const bool number = name == o.device && name.size() <= 4 &&
                        std::all_of(name.begin(), name.end(),
                                    [](char c) { return c >= '0' && c <= '9'; });
    if (number) {
        id = static_cast<std::uint16_t>(std::stoul(name));
        if (rte_eth_dev_is_valid_port(id) != 0) return Found{id, false};
        return fail(ENODEV, "{}port '{}': there is no port {}, expected less than {}", at(o.where),
                    o.name, id, rte_eth_dev_count_avail());
    }
    if (rte_eth_dev_get_port_by_name(name.c_str(), &id) == 0) {
        if (name != o.device)
            return fail(EEXIST, "{}port '{}': there is already a device named {}", at(o.where),
                        o.name, name);
        return Found{id, false};
    }
    rte_errno = 0;
    const int status = rte_dev_probe(o.device.c_str());
    if (status != 0)
        return fail(-status, "{}port '{}': no device can be made from '{}' ({}); see EAL's lines "
                    "above", at(o.where), o.name, o.device, rte_strerror(-status));
    if (rte_eth_dev_get_port_by_name(name.c_str(), &id) != 0)
        return fail(ENODEV, "{}port '{}': '{}' was found, but it is no Ethernet device",
                    at(o.where), o.name, o.device);
    return Found{id, true};
}

// Marks the device as this port's, so that a second port over the same device is refused instead
// of taking it away from the first.
Result<> claim(const PortOptions& o, std::uint16_t id) {
    rte_eth_dev_owner owner{};
    if (rte_eth_dev_owner_get(id, &owner) == 0 && owner.id != RTE_ETH_DEV_NO_OWNER)
        return fail(EBUSY, "{}port '{}': device '{}' is in use as port '{}'", at(o.where), o.name,
                    o.device, owner.name);
    if (const int s = rte_eth_dev_owner_new(&owner.id); s != 0)
        return fail(-s, "{}port '{}': no owner id: {}", at(o.where), o.name, rte_strerror(-s));
    o.name.copy(owner.name, sizeof(owner.name) - 1);
    if (const int s = rte_eth_dev_owner_set(id, &owner); s != 0)
        return fail(-s, "{}port '{}': device '{}' cannot be claimed: {}", at(o.where), o.name,
                    o.device, rte_strerror(-s));
    return {};
}

}  // namespace

Port::Port(PortOptions options, std::uint16_t id, bool plugged)
    : options_(std::move(options)), id_(id), plugged_(plugged) {}

Result<std::unique_ptr<Port>> Port::open(const PortOptions& options, const Mempool& pool) {
    SLUICE_TRY(const Found found, find_or_plug(options));
    SLUICE_TRY_VOID(claim(options, found.id));
    std::unique_ptr<Port> port(new Port(options, found.id, found.plugged));
    SLUICE_TRY_VOID(port->configure(pool));
    return port;
}

Port::~Port() { close(); }

void Port::close() noexcept {
    if (!open_) return;
    open_ = false;
    stop();
    rte_eth_dev_callback_unregister(id_, RTE_ETH_EVENT_INTR_LSC, &Port::lsc_event, this);
    rte_eth_dev_info info{};
    const bool known = rte_eth_dev_info_get(id_, &info) == 0;
    rte_eth_dev_close(id_);
    if (plugged_ && known && info.device != nullptr) rte_dev_remove(info.device);
}

Result<> Port::replug(const Mempool& pool) {
    close();
    SLUICE_TRY(const Found found, find_or_plug(options_));
    SLUICE_TRY_VOID(claim(options_, found.id));
    id_ = found.id;
    plugged_ = found.plugged;
    open_ = true;
    incarnation_.fetch_add(1, std::memory_order_acq_rel);
    SLUICE_TRY_VOID(configure(pool));
    return start();
}

Result<> Port::configure(const Mempool& pool) {
    rte_eth_dev_info info{};
    const int got = rte_eth_dev_info_get(id_, &info);
    if (got != 0)
        return fail(-got, "{}port '{}': the device does not answer: {}", at(options_.where),
                    options_.name, rte_strerror(-got));
    driver_ = info.driver_name == nullptr ? "" : info.driver_name;
    char name[RTE_ETH_NAME_MAX_LEN] = "";
    rte_eth_dev_get_name_by_port(id_, name);
    device_name_ = name;
    const auto in_range = [](std::uint16_t n, std::uint16_t most) { return n > 0 && n <= most; };
    if (!in_range(options_.rx_queues, info.max_rx_queues) ||
        !in_range(options_.tx_queues, info.max_tx_queues))
        return fail(EINVAL, "{}port '{}': {} rx and {} tx queues asked for, expected 1 to {} and "
                    "1 to {}", at(options_.where), options_.name, options_.rx_queues,
                    options_.tx_queues, info.max_rx_queues, info.max_tx_queues);
    rte_eth_conf conf{};
    conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    if (options_.scatter)
        conf.rxmode.offloads |= info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
    if (options_.timestamps)
        conf.rxmode.offloads |= info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TIMESTAMP;
    if (options_.rx_queues > 1) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads &
                                           (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
    }
    conf.intr_conf.rxq = options_.interrupts ? 1 : 0;
    int status = rte_eth_dev_configure(id_, options_.rx_queues, options_.tx_queues, &conf);
    if (status != 0 && options_.interrupts) {
        // Not every driver has receive interrupts; then an idle lcore naps instead.
        conf.intr_conf.rxq = 0;
        status = rte_eth_dev_configure(id_, options_.rx_queues, options_.tx_queues, &conf);
    }
    if (status != 0)
        return fail(-status, "{}port '{}' ({}): cannot be configured: {}; see its driver's lines "
                    "above", at(options_.where), options_.name, options_.device,
                    rte_strerror(-status));
    interrupts_ = conf.intr_conf.rxq != 0;
    tx_offloads_ = conf.txmode.offloads;
    if (options_.mtu != 0) {
        const int set = options_.mtu > 0xffff
                            ? -EINVAL
                            : rte_eth_dev_set_mtu(id_, static_cast<std::uint16_t>(options_.mtu));
        if (set != 0)
            return fail(-set, "{}port '{}': MTU {} refused, expected {} to {}", at(options_.where),
                        options_.name, options_.mtu, info.min_mtu, info.max_mtu);
    }
    SLUICE_TRY_VOID(setup_queues(pool, info, conf));
    rte_eth_dev_callback_register(id_, RTE_ETH_EVENT_INTR_LSC, &Port::lsc_event, this);
    return {};
}

Result<> Port::setup_queues(const Mempool& pool, const rte_eth_dev_info& info,
                            const rte_eth_conf& conf) {
    std::uint16_t rx = options_.rx_descriptors;
    std::uint16_t tx = options_.tx_descriptors;
    rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx, &tx);
    options_.rx_descriptors = rx;
    options_.tx_descriptors = tx;
    rte_eth_rxconf rxconf = info.default_rxconf;
    rxconf.offloads = conf.rxmode.offloads;
    rte_eth_txconf txconf = info.default_txconf;
    txconf.offloads = conf.txmode.offloads;
    for (std::uint16_t q = 0; q < options_.rx_queues; ++q) {
        const int s = rte_eth_rx_queue_setup(id_, q, rx, SOCKET_ID_ANY, &rxconf, pool.get());
        if (s != 0)
            return fail(-s, "{}port '{}': receive queue {} with {} descriptors refused: {}",
                        at(options_.where), options_.name, q, rx, rte_strerror(-s));
    }
    for (std::uint16_t q = 0; q < options_.tx_queues; ++q) {
        const int s = rte_eth_tx_queue_setup(id_, q, tx, SOCKET_ID_ANY, &txconf);
        if (s != 0)
            return fail(-s, "{}port '{}': transmit queue {} with {} descriptors refused: {}",
                        at(options_.where), options_.name, q, tx, rte_strerror(-s));
    }
    return {};
}

Result<> Port::start() {
    if (started_) return {};
    const int status = rte_eth_dev_start(id_);
    if (status != 0)
        return fail(-status, "{}port '{}' ({}) cannot be started: {}", at(options_.where),
                    options_.name, options_.device, rte_strerror(-status));
    started_ = true;
    if (options_.promiscuous && rte_eth_promiscuous_enable(id_) != 0)
        log::warn("port", "'{}' cannot be promiscuous: {} does not do it", options_.name, driver_);
    refresh_link();
    return {};
}

void Port::stop() noexcept {
    if (!started_) return;
    rte_eth_dev_stop(id_);
    started_ = false;
    link_up_.store(false, std::memory_order_release);
}

int Port::lsc_event(std::uint16_t, rte_eth_event_type, void* self, void*) {
    static_cast<Port*>(self)->refresh_link();
    return 0;
}

void Port::refresh_link() noexcept {
    if (!started_) return;
    rte_eth_link link{};
    if (rte_eth_link_get_nowait(id_, &link) != 0) return;
    const bool up = link.link_status == RTE_ETH_LINK_UP;
    const bool was = link_up_.exchange(up, std::memory_order_acq_rel);
    if (up != was && link_changed_) link_changed_(up);
}

PortInfo Port::info() const {
    PortInfo out;
    out.name = options_.name;
    out.device = device_name_;
    out.driver = driver_;
    out.id = id_;
    rte_ether_addr mac{};
    if (rte_eth_macaddr_get(id_, &mac) == 0)
        out.mac = fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac.addr_bytes[0],
                              mac.addr_bytes[1], mac.addr_bytes[2], mac.addr_bytes[3],
                              mac.addr_bytes[4], mac.addr_bytes[5]);
    rte_eth_link link{};
    if (rte_eth_link_get_nowait(id_, &link) == 0) {
        out.link_up = link.link_status == RTE_ETH_LINK_UP;
        out.speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
    }
    out.rx_queues = options_.rx_queues;
    out.tx_queues = options_.tx_queues;
    out.rx_descriptors = options_.rx_descriptors;
    out.tx_descriptors = options_.tx_descriptors;
    std::uint16_t mtu = 0;
    if (rte_eth_dev_get_mtu(id_, &mtu) == 0) out.mtu = mtu;
    out.socket = rte_eth_dev_socket_id(id_);
    out.promiscuous = rte_eth_promiscuous_get(id_) == 1;
    out.tx_offloads = tx_offloads_;
    return out;
}

PortStats Port::stats() const {
    rte_eth_stats s{};
    if (rte_eth_stats_get(id_, &s) != 0) return {};
    PortStats now;
    now.rx_packets = s.ipackets;
    now.rx_bytes = s.ibytes;
    now.rx_missed = s.imissed;
    now.rx_errors = s.ierrors;
    now.rx_no_mbuf = s.rx_nombuf;
    now.tx_packets = s.opackets;
    now.tx_bytes = s.obytes;
    now.tx_errors = s.oerrors;
    return minus(now, cleared_);
}

std::vector<std::pair<std::string, std::uint64_t>> Port::xstats() const {
    std::vector<std::pair<std::string, std::uint64_t>> out;
    const int count = rte_eth_xstats_get_names(id_, nullptr, 0);
    if (count <= 0) return out;
    const auto n = static_cast<unsigned>(count);
    std::vector<rte_eth_xstat_name> names(n);
    std::vector<rte_eth_xstat> values(n);
    if (rte_eth_xstats_get_names(id_, names.data(), n) != count ||
        rte_eth_xstats_get(id_, values.data(), n) != count)
        return out;
    for (unsigned i = 0; i < n; ++i) out.emplace_back(names[i].name, values[i].value);
    return out;
}

// The lcores count while we clear, so the base is moved rather than the counters zeroed.
void Port::clear_stats() {
    const PortStats shown = stats();
    cleared_.rx_packets += shown.rx_packets;
    cleared_.rx_bytes += shown.rx_bytes;
    cleared_.rx_missed += shown.rx_missed;
    cleared_.rx_errors += shown.rx_errors;
    cleared_.rx_no_mbuf += shown.rx_no_mbuf;
    cleared_.tx_packets += shown.tx_packets;
    cleared_.tx_bytes += shown.tx_bytes;
    cleared_.tx_errors += shown.tx_errors;
}

}  // namespace sluice::dp
