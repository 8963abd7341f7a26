#include "app/lanes.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "dataplane/clock.hpp"

namespace sluice::app {

using control::Value;

Result<capture::Lane*> Lanes::add(const capture::LaneConfig& config, const dp::Port& port) {
    auto lane = capture::Lane::create(config, clock_.wall());
    if (!lane)
        return fail(lane.error().code, "{}{}", config.where.empty() ? "" : config.where + ": ",
                    lane.error().message);
    if (config.port_stamps) (*lane)->set_port_clock(clock_of(port));
    Entry entry;
    entry.lane = std::move(*lane);
    entry.ports = {&port};
    lanes_.push_back(std::move(entry));
    return lanes_.back().lane.get();
}

Result<capture::Merge*> Lanes::add_merge(const capture::LaneConfig& file,
                                         std::vector<capture::LaneConfig> lanes,
                                         std::vector<const dp::Port*> ports) {
    auto merge = capture::Merge::create(file, std::move(lanes), clock_.wall());
    if (!merge)
        return fail(merge.error().code, "{}{}", file.where.empty() ? "" : file.where + ": ",
                    merge.error().message);
    for (std::size_t i = 0; i < ports.size() && file.port_stamps; ++i)
        (*merge)->lane(i).set_port_clock(clock_of(*ports[i]));
    std::sort(ports.begin(), ports.end());
    ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
    Entry entry;
    entry.merge = std::move(*merge);
    entry.ports = std::move(ports);
    lanes_.push_back(std::move(entry));
    return lanes_.back().merge.get();
}

// nullptr if the port has none, which is told once.
const capture::PortClock* Lanes::clock_of(const dp::Port& port) {
    const auto [found, made] = port_clocks_.try_emplace(port.id());
    if (made) {
        if (auto clock = capture::PortClock::of(port.id()))
            found->second.emplace(std::move(*clock));
        else
            log::warn("capture", "{} ({}) does not stamp what it receives; using the TSC",
                      port.name(), port.driver());
    }
    return found->second ? &*found->second : nullptr;
}

capture::WriterWork& Lanes::Entry::work() const {
    return lane ? static_cast<capture::WriterWork&>(*lane) : *merge;
}
capture::LaneStats Lanes::Entry::stats() const { return lane ? lane->stats() : merge->stats(); }
bool Lanes::Entry::over() const { return lane ? lane->over() : merge->over(); }
void Lanes::Entry::rotate() const { lane ? lane->rotate() : merge->rotate(); }

std::vector<const dp::Port*> Lanes::all_ports() const {
    std::vector<const dp::Port*> ports = nulls_;
    for (const Entry& e : lanes_)
        for (const dp::Port* port : e.ports)
            if (std::find(ports.begin(), ports.end(), port) == ports.end()) ports.push_back(port);
    return ports;
}

void Lanes::add_null(const dp::Port& port) { nulls_.push_back(&port); }

Result<> Lanes::start_threads(bool inline_writers) {
    for (Entry& e : lanes_) {
        if (inline_writers && !e.work().wants_thread())
            SLUICE_TRY_VOID(e.work().prepare_for_lcore());
        else
            SLUICE_TRY_VOID(e.work().start_thread());
    }
    return {};
}

void Lanes::look() {
    const auto missed = [](const dp::Port& port) {
        const dp::PortStats s = port.stats();
        return s.rx_missed + s.rx_no_mbuf;
    };
    for (const Entry& e : lanes_) {
        if (e.lane) e.lane->set_missed(missed(*e.ports.front()));
        for (std::size_t i = 0; e.merge && i < e.merge->lanes(); ++i)
            for (const dp::Port* port : e.ports)
                if (port->name() == e.merge->lane(i).config().port)
                    e.merge->lane(i).set_missed(missed(*port));
    }
    if (!clock_.due()) return;
    for (auto& [id, clock] : port_clocks_)
        if (clock) clock->adjust(clock_.wall().wall_ns(dp::TscClock::instance().now()));
    clock_.adjust();
}

bool Lanes::over() const {
    if (lanes_.empty()) return false;
    return std::all_of(lanes_.begin(), lanes_.end(),
                       [](const Entry& e) { return e.over(); });
}

template <typename Do>
Result<> Lanes::for_lanes(const std::string& port, Do&& act) {
    bool found = false;
    for (const Entry& e : lanes_)
        for (std::size_t i = 0; i < (e.lane ? 1 : e.merge->lanes()); ++i) {
            capture::Lane& lane = e.lane ? *e.lane : e.merge->lane(i);
            if (port != "all" && lane.config().port != port) continue;
            found = true;
            SLUICE_TRY_VOID(act(e, lane));
        }
    if (!found) return not_captured(port);
    return {};
}

void Lanes::rotate() {
    for (const Entry& e : lanes_) e.rotate();
}

// A merge goes on to the next file as a whole, and once.
Result<> Lanes::rotate(const std::string& port) {
    const Entry* last = nullptr;
    return for_lanes(port, [&last](const Entry& e, capture::Lane&) -> Result<> {
        if (&e != last) e.rotate();
        last = &e;
        return {};
    });
}

Result<> Lanes::change(const std::string& port, std::optional<std::string> filter,
                       std::optional<std::uint32_t> snaplen) {
    return for_lanes(port, [&](const Entry&, capture::Lane& lane) {
        return lane.change(filter, snaplen);
    });
}

Result<> Lanes::close() {
    if (closed_) return {};
    closed_ = true;
    Result<> outcome;
    for (const Entry& e : lanes_) {
        const Result<> closed = e.lane ? e.lane->close() : e.merge->close();
        if (!closed) outcome = closed;
        if (auto sums = check_sums(e.stats()); !sums) outcome = sums;
    }
    return outcome;
}

Value Lanes::row(const Entry& e) const {
    const capture::LaneStats s = e.stats();
    PortLoss loss;
    for (const dp::Port* port : e.ports) {
        const dp::PortStats one = port->stats();
        loss.nic_missed += one.rx_missed;
        loss.no_mbuf += one.rx_no_mbuf;
    }
    return capture_row(s, closed_ ? "stopped" : s.over ? "over" : "running", loss);
}

Value Lanes::show() const {
    Value rows = Value::array();
    for (const Entry& e : lanes_) rows.push_back(row(e));
    return rows;
}

Value Lanes::drops() const {
    Value rows = Value::array();
    for (const Entry& e : lanes_) {
        const capture::LaneStats s = e.stats();
        add_capture_drops(rows, e.lane ? fmt::format("{}.q{}", s.port, s.queue) : s.port, s);
    }
    for (const dp::Port* port : all_ports()) {
        const dp::PortStats p = port->stats();
        add_drop_row(rows, port->name(), "nic_missed", p.rx_missed,
                     "the port's receive ring was full");
        add_drop_row(rows, port->name(), "no_mbuf", p.rx_no_mbuf, "the packet pool was empty");
    }
    return rows;
}

Value Lanes::report(double seconds) const {
    Value v;
    v["seconds"] = seconds;
    v["captures"] = show();
    for (const dp::Port* port : nulls_) {
        const dp::PortStats p = port->stats();
        v["captures"].push_back({{"port", port->name()},
                                 {"queue", 0},
                                 {"received", p.rx_packets},
                                 {"bytes", p.rx_bytes},
                                 {"drops", {{"nic_missed", p.rx_missed},
                                            {"no_mbuf", p.rx_no_mbuf}}}});
    }
    return v;
}

std::string Lanes::progress(double seconds) {
    std::uint64_t packets = 0, bytes = 0, file_bytes = 0, no_chunk = 0, disk = 0, missed = 0;
    unsigned buffer = 0;
    std::string file;
    for (const Entry& e : lanes_) {
        const capture::LaneStats s = e.stats();
        packets += s.received;
        bytes += s.bytes;
        file_bytes += s.file_bytes;
        no_chunk += s.no_chunk;
        disk += s.disk_error;
        buffer = std::max(buffer, s.buffer_percent);
        file = s.file;
    }
    for (const dp::Port* port : all_ports()) {
        const dp::PortStats p = port->stats();
        missed += p.rx_missed + p.rx_no_mbuf;
        if (lanes_.empty()) {
            packets += p.rx_packets;
            bytes += p.rx_bytes;
        }
    }
    const auto rate = [&](std::uint64_t total, std::uint64_t& seen) {
        const double r = static_cast<double>(total - seen) / std::max(seconds, 1e-3);
        seen = total;
        return r;
    };
    const double pps = rate(packets, packets_seen_);
    const double bps = rate(bytes, bytes_seen_) * 8;
    const double disk_rate = rate(file_bytes, file_bytes_seen_);
    std::string line = fmt::format(
        "{} packets, {:.3f} Mpps, {:.2f} Gb/s, disk {:.2f} GB/s, buffer {} %", packets, pps / 1e6,
        bps / 1e9, disk_rate / 1e9, buffer);
    if (missed + no_chunk + disk != 0)
        line += fmt::format(", LOST nic {} chunk {} disk {}", missed, no_chunk, disk);
    return file.empty() ? line : line + ", " + file;
}

}  // namespace sluice::app
