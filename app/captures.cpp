#include "app/captures.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.hpp"
#include "dataplane/clock.hpp"
#include "dataplane/port_stages.hpp"
#include "pcap_writer/pcapng.hpp"

namespace sluice::app {

using capture::LaneConfig;
using capture::LaneStats;
using capture::Merge;
using control::Value;

namespace {

constexpr Duration kOpenPatience = Duration::seconds(2);
constexpr unsigned kLookMicroseconds = 200;

Instant now() { return dp::TscClock::instance().now(); }

// A FIFO must have a reader: to open one waits for it, which a control thread must not. The
// descriptor is kept until the capture has its own, or else the reader would see an end.
class ReaderProbe {
  public:
    static Result<ReaderProbe> of(const std::string& file) {
        ReaderProbe probe;
        struct stat info {};
        if (::stat(file.c_str(), &info) != 0 || !S_ISFIFO(info.st_mode)) return probe;
        probe.fd_ = ::open(file.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (probe.fd_ >= 0) return probe;
        if (errno == ENXIO)
            return fail(ENXIO, "nobody reads from the FIFO \"{}\": start its reader first", file);
        return fail(errno, "cannot open \"{}\" for writing: {}", file, std::strerror(errno));
    }
    ReaderProbe() = default;
    ReaderProbe(ReaderProbe&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
    ReaderProbe& operator=(ReaderProbe&&) = delete;
    ~ReaderProbe() {
        if (fd_ >= 0) ::close(fd_);
    }

  private:
    int fd_ = -1;
};

pcap::FileSet::Options names_of(const CaptureSpec& spec) {
    pcap::FileSet::Options names;
    names.pattern = spec.lane.file + std::string(pcap::extension_of(spec.lane.codec));
    names.port = spec.port;
    names.rotates = spec.lane.rotation.rotates();
    return names;
}

}  // namespace

Captures::~Captures() { static_cast<void>(stop_all()); }

void Captures::add_port(const dp::Port& port, pcap::Linktype linktype,
                        std::vector<Point> points) {
    Port& p = ports_[port.name()];
    p.device = &port;
    p.linktype = linktype;
    p.points = std::move(points);
}

void Captures::set_tap(const std::string& stage, dp::PacketTap* tap) {
    dp::Mail mail;
    mail.to = runtime_.stage(stage);
    if (mail.to == nullptr) return;  // it is gone, and its tap is not used any more
    mail.type = dp::kMailSetTap;
    mail.pointer = tap;
    while (!runtime_.post(mail)) usleep(100);
}

// The port, if it can be captured to a file of these names.
Result<Captures::Port*> Captures::port_for(const CaptureSpec& spec,
                                           const pcap::FileSet::Options& names) {
    const auto found = ports_.find(spec.port);
    if (found == ports_.end()) {
        std::string known;
        for (const auto& [name, port] : ports_) known += (known.empty() ? "" : ", ") + name;
        return fail(ENOENT, "'{}' is no port here, expected one of {}", spec.port, known);
    }
    Port& port = found->second;
    if (port.capture)
        return fail(EBUSY, "{} is being captured to {} already; stop that first", spec.port,
                    stats_of(port).file);
    std::vector<pcap::FileSet::Options> all{names};
    for (const auto& [name, other] : ports_)
        if (other.capture) all.push_back(other.capture->names);
    SLUICE_TRY_VOID(pcap::FileSet::check_distinct(all));
    return &port;
}

Result<std::unique_ptr<Captures::Capture>> Captures::made(const CaptureSpec& spec,
                                                          const Port& port) const {
    LaneConfig config = spec.lane;
    config.port = spec.port;
    config.linktype = port.linktype;
    config.tapped = true;
    config.io_worker_cpus = io_worker_cpus_;
    if (getrandom(&config.seed, sizeof(config.seed), 0) < 0)
        return fail(errno, "no random numbers: {}", std::strerror(errno));
    struct Lanes {
        std::size_t rx = 0, tx = 0;  // index + 1; 0: not wanted
    };
    std::vector<Lanes> of_points;
    std::vector<LaneConfig> lanes;
    const auto add = [&](bool wanted, std::uint32_t direction) -> std::size_t {
        if (!wanted) return 0;
        lanes.push_back(config);
        lanes.back().direction = direction;
        return lanes.size();
    };
    for (const Point& point : port.points) {
        if (runtime_.stage(point.stage) == nullptr) {
            of_points.emplace_back();
            continue;
        }
        Lanes l;
        // What came in stands before what went out at the same time.
        l.rx = add(point.rx && spec.direction != "tx", pcap::kEpbInbound);
        l.tx = add(point.tx && spec.direction != "rx", pcap::kEpbOutbound);
        of_points.push_back(l);
    }
    auto capture = std::make_unique<Capture>();
    SLUICE_TRY(capture->merge, Merge::create(config, std::move(lanes), clock_.wall()));
    const auto lane = [&](std::size_t i) {
        return i == 0 ? nullptr : &capture->merge->lane(i - 1);
    };
    for (std::size_t i = 0; i < of_points.size(); ++i)
        if (const auto& [rx, tx] = of_points[i]; rx != 0 || tx != 0)
            capture->taps.emplace_back(
                port.points[i].stage, std::make_unique<capture::LaneTap>(lane(rx), lane(tx)));
    return capture;
}

// An operator is told at once if the file cannot be.
Result<> Captures::wait_for_file(Merge& merge) {
    const Instant begin = now();
    for (;;) {
        const LaneStats s = merge.stats();
        if (!s.error.empty()) return fail(EIO, "{}", s.error);
        if (s.files != 0) return {};
        if (now() - begin > kOpenPatience)
            return fail(ETIMEDOUT, "the capture's file could not be opened within {}",
                        to_string(kOpenPatience));
        usleep(kLookMicroseconds);
    }
}

Result<> Captures::start(const CaptureSpec& spec) {
    const pcap::FileSet::Options names = names_of(spec);
    SLUICE_TRY(Port* const port, port_for(spec, names));
    if (std::none_of(port->points.begin(), port->points.end(), [&](const Point& p) {
            return runtime_.stage(p.stage) != nullptr &&
                   ((p.rx && spec.direction != "tx") || (p.tx && spec.direction != "rx"));
        }))
        return fail(ENOTCONN, "nothing passes {} that way: no edge leads from or to it", spec.port);
    SLUICE_TRY(const ReaderProbe probe, ReaderProbe::of(spec.lane.file));
    SLUICE_TRY(std::unique_ptr<Capture> capture, made(spec, *port));
    capture->names = names;
    capture->longest = spec.lane.stop.duration;
    SLUICE_TRY_VOID(capture->merge->start_thread());
    if (auto open = wait_for_file(*capture->merge); !open) {
        static_cast<void>(capture->merge->close());
        return open;
    }
    capture->begun = now();
    capture->before = port->device->stats();
    port->past.reset();
    port->capture = std::move(capture);
    for (const auto& [stage, tap] : port->capture->taps) set_tap(stage, tap.get());
    // From here on nothing passes unseen.
    runtime_.settle_mails();
    return {};
}

Result<> Captures::stop(Port& port, const char* state) {
    Merge& merge = *port.capture->merge;
    for (const auto& [stage, tap] : port.capture->taps) set_tap(stage, nullptr);
    // Once the mails have been read, and the iteration they were read in is over.
    runtime_.settle_mails();
    const PortLoss loss = loss_of(port);
    merge.lane(0).set_missed(loss.nic_missed + loss.no_mbuf);
    Result<> outcome = merge.close();
    port.past = Past{stats_of(port), state, loss};
    port.capture.reset();
    if (auto sums = check_sums(port.past->stats); !sums) outcome = sums;
    return outcome;
}

Result<> Captures::stop(const std::string& name) {
    const auto found = ports_.find(name);
    if (found == ports_.end() || !found->second.capture) return not_captured(name);
    return stop(found->second, "stopped");
}

Result<> Captures::stop_all() {
    Result<> outcome;
    for (auto& [name, port] : ports_)
        if (port.capture)
            if (auto stopped = stop(port, "stopped"); !stopped) outcome = stopped;
    return outcome;
}

template <typename Do>
Result<> Captures::for_running(const std::string& name, Do&& act) {
    bool found = false;
    for (auto& [port_name, port] : ports_) {
        if (!port.capture || (name != "all" && name != port_name)) continue;
        found = true;
        SLUICE_TRY_VOID(act(*port.capture->merge));
    }
    if (!found) return not_captured(name);
    return {};
}

Result<> Captures::rotate(const std::string& port) {
    return for_running(port, [](Merge& merge) -> Result<> {
        merge.rotate();
        return {};
    });
}

Result<> Captures::change(const std::string& port, std::optional<std::string> filter,
                          std::optional<std::uint32_t> snaplen) {
    return for_running(port, [&](Merge& merge) -> Result<> {
        for (std::size_t i = 0; i < merge.lanes(); ++i)
            SLUICE_TRY_VOID(merge.lane(i).change(filter, snaplen));
        return {};
    });
}

void Captures::look() {
    if (clock_.due()) clock_.adjust();
    for (auto& [name, port] : ports_) {
        if (!port.capture) continue;
        const Capture& c = *port.capture;
        const PortLoss loss = loss_of(port);
        c.merge->lane(0).set_missed(loss.nic_missed + loss.no_mbuf);
        const bool late = c.longest.ns != 0 && now() - c.begun >= c.longest;
        if (!late && !c.merge->over()) continue;
        if (const auto stopped = stop(port, "over"); !stopped)
            log::error("capture", "{}: {}", name, stopped.error().message);
        else
            log::info("capture", "{}: the capture has come to its limit", name);
    }
}

LaneStats Captures::stats_of(const Port& port) {
    LaneStats s = port.capture->merge->stats();
    s.port = port.device->name();
    return s;
}

// Since the capture began, unless somebody counts from zero again.
PortLoss Captures::loss_of(const Port& port) {
    const dp::PortStats& before = port.capture->before;
    const dp::PortStats s = port.device->stats();
    const auto since = [](std::uint64_t then, std::uint64_t at) {
        return at >= then ? at - then : at;
    };
    return {since(before.rx_missed, s.rx_missed), since(before.rx_no_mbuf, s.rx_no_mbuf)};
}

Value Captures::show() const {
    Value rows = Value::array();
    for (const auto& [name, port] : ports_) {
        if (port.capture)
            rows.push_back(capture_row(stats_of(port), "running", loss_of(port)));
        else if (port.past)
            rows.push_back(capture_row(port.past->stats, port.past->state, port.past->loss));
    }
    return rows;
}

Value Captures::drops() const {
    Value rows = Value::array();
    for (const auto& [name, port] : ports_)
        if (port.capture || port.past)
            add_capture_drops(rows, name + ".capture",
                              port.capture ? stats_of(port) : port.past->stats);
    return rows;
}

}  // namespace sluice::app
