#include "app/node.hpp"

#include <rte_lcore.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <set>
#include <thread>

#include "app/vhost_socket.hpp"
#include "base/log.hpp"
#include "dataplane/clock.hpp"
#include "dataplane/port_stages.hpp"
#include "stages/stage_table.hpp"

namespace sluice::app {
namespace {

constexpr Duration kLook = Duration::milliseconds(200);  // at links and what can be freed
constexpr Duration kReplug = Duration::seconds(1);
constexpr unsigned kPuntBatch = 64;
constexpr std::uint32_t kMbufsOfControl = 1024;

Instant now() { return dp::TscClock::instance().now(); }

// While it lives, SIGINT and SIGTERM end the process at once. By a thread that takes them, because
// unblocking them here would pass the mask on to the threads that drivers start meanwhile.
class Killable {
  public:
    // `sockets` are removed then, as they would be otherwise.
    explicit Killable(std::vector<std::string> sockets)
        : sockets_(std::move(sockets)), watcher_([this] { watch(); }) {}
    ~Killable() {
        over_.store(true, std::memory_order_relaxed);
        watcher_.join();
    }
    Killable(const Killable&) = delete;
    Killable& operator=(const Killable&) = delete;

  private:
    void watch() const {
        sigset_t ours;
        sigemptyset(&ours);
        sigaddset(&ours, SIGINT);
        sigaddset(&ours, SIGTERM);
        const timespec patience{0, 20'000'000};
        while (!over_.load(std::memory_order_relaxed)) {
            const int signal = sigtimedwait(&ours, nullptr, &patience);
            if (signal <= 0) continue;
            for (const std::string& path : sockets_)
                if (!path.empty()) unlink(path.c_str());
            _exit(128 + signal);
        }
    }

    const std::vector<std::string> sockets_;
    std::atomic<bool> over_{false};
    std::thread watcher_;
};

// CPUs on which no lcore polls: where threads that write may run.
std::vector<unsigned> control_cpus() {
    cpu_set_t ours = rte_lcore_cpuset(rte_get_main_lcore());
    unsigned lcore = 0;
    RTE_LCORE_FOREACH_WORKER(lcore) {
        const cpu_set_t polling = rte_lcore_cpuset(lcore);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &polling)) CPU_CLR(cpu, &ours);
    }
    std::vector<unsigned> cpus;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &ours)) cpus.push_back(cpu);
    return cpus;
}

// What a tgen SDU carries where nothing else is written.
void fill_with_pattern(rte_mempool*, void*, void* object, unsigned) {
    auto* const m = static_cast<rte_mbuf*>(object);
    auto* const data = static_cast<unsigned char*>(m->buf_addr);
    for (unsigned i = 0; i < m->buf_len; ++i) data[i] = static_cast<unsigned char>(i);
}

}  // namespace

Result<std::unique_ptr<Node>> Node::create(const Config& config, const ConfigScope& scope,
                                           const dp::Placement& placement,
                                           control::EventLoop& loop) {
    std::unique_ptr<Node> node(new Node(config, scope, loop));
    SLUICE_TRY_VOID(node->build(placement));
    return node;
}

Node::~Node() {
    shut_down();
    if (timer_armed_) loop_.cancel(timer_);
}

Result<> Node::build(const dp::Placement& placement) {
    placement_ = placement;
    placement_.mbufs_extra += kMbufsOfControl;
    SLUICE_TRY(layout_, layout_of(config_, scope_));
    SLUICE_TRY(dp::Plan plan, dp::plan(layout_.graph, layout_.kinds, placement_));
    SLUICE_TRY_VOID(make_pools(plan));
    SLUICE_TRY(runtime_, dp::Runtime::create(placement_));
    captures_ = std::make_unique<Captures>(*runtime_, control_cpus());
    // A virtio-user server waits for its client in here, for ever if need be: let signals end that.
    std::vector<std::string> sockets;
    for (const PortConfig& p : config_.ports) {
        SLUICE_TRY_VOID(prepare_vhost_socket(p.options));
        if (serves_vhost_socket(p.options)) sockets.push_back(vhost_socket_of(p.options));
    }
    const Killable killable(std::move(sockets));
    for (const PortConfig& p : config_.ports) {
        SLUICE_TRY(auto opened, dp::Port::open(p.options, *pool_));
        ports_.push_back(std::move(opened));
    }
    dp::Runtime::Stages stages;
    if (scope_.vmpi)
        SLUICE_TRY_VOID(make_vmpi(stages));
    else
        SLUICE_TRY_VOID(make_ethernet(stages));
    SLUICE_TRY_VOID(runtime_->load(std::move(plan), layout_.kinds, std::move(stages)));
    watch();
    return {};
}

Result<> Node::make_pools(const dp::Plan& plan) {
    dp::Mempool::Options options;
    options.count = plan.mbufs;
    options.cache = placement_.mbuf_cache;
    options.data_size = config_.mbuf_data_size;
    SLUICE_TRY(pool_, dp::Mempool::create(options));
    if (!scope_.vmpi) return {};
    options.name = "tgen";
    options.count = config_.tgen.pool;
    SLUICE_TRY(tgen_pool_, dp::Mempool::create(options));
    rte_mempool_obj_iter(tgen_pool_->get(), &fill_with_pattern, nullptr);
    return {};
}

Result<> Node::make_vmpi(dp::Runtime::Stages& stages) {
    tgen::TgenStage::Options tgen;
    tgen.pool = tgen_pool_->get();
    tgen.punt = &runtime_->punt();
    tgen.outlets = static_cast<unsigned>(config_.ports.size());
    auto tgen_stage = std::make_unique<tgen::TgenStage>(tgen);
    tgen_ = std::make_unique<TgenApp>(*runtime_, *tgen_stage);
    stages[kTgenNode] = std::move(tgen_stage);
    for (std::size_t i = 0; i < ports_.size(); ++i) {
        const PortConfig& p = config_.ports[i];
        shim_hv::LowLevelEthdev::Options low;
        low.frame_max = std::max(p.vmpi.params.max_sdu_rx, p.vmpi.params.max_sdu_tx) +
                        rina::vmpi::kHeaderBytes;
        low.mergeable = p.vmpi.mergeable.value_or(p.options.device.find("mrg_rxbuf=0") ==
                                                  std::string::npos);
        low.buffer_size = config_.mbuf_data_size;
        low.pool = pool_->get();
        VmpiPort& vmpi = vmpi_[p.options.name];
        vmpi.port = ports_[i].get();
        vmpi.low_level = std::make_unique<shim_hv::LowLevelEthdev>(*ports_[i], low);
        const shim_hv::VmpiLimits limits = vmpi.low_level->limits();

        shim_hv::Device::Options device;
        device.name = p.options.name;
        device.params = p.vmpi.params;
        device.params.min_frame_tx = limits.frame_min_tx;
        device.params.max_sdu_rx =
            std::min(device.params.max_sdu_rx, limits.frame_max_rx - rina::vmpi::kHeaderBytes);
        device.pool = pool_->get();
        if (getrandom(&device.params.seed, sizeof(device.params.seed), 0) < 0)
            return fail(errno, "no random numbers: {}", std::strerror(errno));

        shim_hv::VmpiStage::Options stage;
        stage.data = {device.params.profile, device.params.max_channels, device.params.max_sdu_rx,
                      device.params.max_sdu_tx, device.params.min_frame_tx};
        stage.pool = pool_->get();
        stage.punt = &runtime_->punt();
        stage.backlog = p.vmpi.backlog;
        auto made = std::make_unique<shim_hv::VmpiStage>(*vmpi.low_level, stage);
        vmpi.stage = made.get();
        stages[p.options.name] = std::move(made);
        vmpi.device = std::make_unique<shim_hv::Device>(device, *runtime_, *vmpi.low_level,
                                                        *vmpi.stage, *tgen_);
        tgen_->add_device(*vmpi.device);
        captures_->add_port(*vmpi.port, pcap::Linktype::user0, {{p.options.name, true, true}});
        vmpi.low_level->on_link_change([this] { loop_.post([this] { poll_devices(); }); });
    }
    return {};
}

Result<> Node::make_ethernet(dp::Runtime::Stages& stages) {
    const stages::StageEnv env{pool_->get()};
    for (const dp::NodeSpec& node : layout_.graph.nodes) {
        if (node.kind == "port_rx" || node.kind == "port_tx") {
            const std::string name = node.name.substr(0, node.name.rfind('.'));
            const auto config = std::find_if(config_.ports.begin(), config_.ports.end(),
                                             [&](const auto& p) { return p.options.name == name; });
            dp::Port& device = *port(name);
            if (node.kind == "port_rx") {
                stages[node.name] = std::make_unique<dp::PortRx>(device, std::uint16_t{0});
            } else {
                dp::PortTx::Options options;
                options.hold = config->hold;
                stages[node.name] =
                    std::make_unique<dp::PortTx>(device, std::uint16_t{0}, options);
            }
        } else if (node.kind == "recorder" || node.kind == "capture_writer") {
            continue;
        } else {
            SLUICE_TRY(stages[node.name], stages::make_stage(node, env));
        }
    }
    for (const PortConfig& p : config_.ports) {
        std::vector<Captures::Point> points;
        if (const auto rx = stages.find(rx_node(p.options.name)); rx != stages.end())
            points.push_back({rx->first, true, false});
        if (const auto tx = stages.find(tx_node(p.options.name)); tx != stages.end())
            points.push_back({tx->first, false, true});
        captures_->add_port(*port(p.options.name), pcap::Linktype::ethernet, std::move(points));
    }
    if (scope_.role == "capture") SLUICE_TRY_VOID(make_lanes(stages));
    return {};
}

Result<> Node::make_lanes(dp::Runtime::Stages& stages) {
    lanes_ = std::make_unique<Lanes>();
    // A thread beside a polling lcore on the only CPU would halve both.
    const std::vector<unsigned> cpus = control_cpus();
    bool inline_writers = cpus.empty();
    std::set<std::string> merged;
    for (const CaptureSpec& spec : config_.captures) {
        inline_writers = inline_writers || spec.io_lcore;
        if (spec.merge && !spec.null) {
            if (merged.insert(spec.lane.file).second) SLUICE_TRY_VOID(make_merge(spec, stages));
            continue;
        }
        dp::Port& device = *port(spec.port);
        if (spec.null) lanes_->add_null(device);
        for (unsigned q = 0; q < device.options().rx_queues; ++q) {
            capture::Lane* lane = nullptr;
            if (!spec.null) {
                SLUICE_TRY(const capture::LaneConfig config, lane_config(spec, q));
                SLUICE_TRY(lane, lanes_->add(config, device));
                stages[writer_node(spec.port, q)] = std::make_unique<capture::WriterStage>(*lane);
            }
            stages[recorder_node(spec.port, q)] = std::make_unique<capture::RecorderStage>(
                device, static_cast<std::uint16_t>(q), lane);
        }
    }
    return lanes_->start_threads(inline_writers);
}

Result<capture::LaneConfig> Node::lane_config(const CaptureSpec& spec, unsigned queue) const {
    capture::LaneConfig config = spec.lane;
    config.port = spec.port;
    config.queue = queue;
    config.io_worker_cpus = control_cpus();
    // To start a write takes longer the more it writes, and inline nobody receives meanwhile.
    // Writes that make a file longer are a kernel thread's, which shares the core: the fewer the
    // better.
    constexpr std::uint32_t kInlineBlock = 1u << 19;
    if (config.io_worker_cpus.empty() && !spec.io_lcore && config.preallocate != 0)
        config.block_bytes = kInlineBlock;
    if (getrandom(&config.seed, sizeof(config.seed), 0) < 0)
        return fail(errno, "no random numbers: {}", std::strerror(errno));
    return config;
}

// All captures that merge into the file of this one.
Result<> Node::make_merge(const CaptureSpec& first, dp::Runtime::Stages& stages) {
    std::vector<capture::LaneConfig> lanes;
    std::vector<const dp::Port*> devices;
    for (const CaptureSpec& spec : config_.captures) {
        if (!spec.merge || spec.lane.file != first.lane.file) continue;
        const dp::Port* const device = port(spec.port);
        for (unsigned q = 0; q < device->options().rx_queues; ++q) {
            SLUICE_TRY(capture::LaneConfig config, lane_config(spec, q));
            lanes.push_back(std::move(config));
            devices.push_back(device);
        }
    }
    SLUICE_TRY(const capture::LaneConfig file, lane_config(first, 0));
    const std::vector<capture::LaneConfig> names = lanes;
    SLUICE_TRY(capture::Merge* const merge, lanes_->add_merge(file, std::move(lanes), devices));
    for (std::size_t i = 0; i < names.size(); ++i)
        stages[recorder_node(names[i].port, names[i].queue)] =
            std::make_unique<capture::RecorderStage>(
                *devices[i], static_cast<std::uint16_t>(names[i].queue), &merge->lane(i));
    stages[writer_node(first.port, 0)] = std::make_unique<capture::WriterStage>(*merge);
    return {};
}

void Node::watch() {
    static_cast<void>(loop_.add_fd(runtime_->punt().fd(), EPOLLIN, [this](std::uint32_t) {
        on_punt();
    }));
    loop_.every(kLook, [this] {
        if (down_) return;
        // Not every driver tells. One that is being plugged in again is asked by that.
        for (auto& p : ports_)
            if (p->link_up() || !connects_once(p->options())) p->refresh_link();
        replug_lost();
        poll_devices();
        runtime_->reclaim();
        if (lanes_)
            lanes_->look();
        else
            captures_->look();
    });
}

void Node::on_punt() {
    dp::PuntItem items[kPuntBatch];
    // Bounded, so that a flood does not keep commands waiting: what is left kicks again.
    const unsigned count = runtime_->punt().drain(items, kPuntBatch);
    const Instant at = now();
    for (unsigned i = 0; i < count; ++i) {
        const dp::PuntItem& item = items[i];
        if (item.type != shim_hv::kPuntVmpiControl) {
            if (tgen_) tgen_->on_punt(item);
            continue;
        }
        const auto owner = std::find_if(vmpi_.begin(), vmpi_.end(), [&](const auto& v) {
            return v.second.stage == item.from;
        });
        if (owner != vmpi_.end())
            owner->second.device->on_punt(at, item);
        else
            rte_pktmbuf_free(item.packet);
    }
    if (count == kPuntBatch) loop_.post([this] { if (!down_) on_punt(); });
    arm_timer();
}

void Node::poll_devices() {
    if (down_) return;
    const Instant at = now();
    for (auto& [name, vmpi] : vmpi_) vmpi.device->poll(at);
    arm_timer();
}

// A virtio-user device that is the client of its socket does not connect again when the server
// has been restarted: it is given up and made anew, as long as it takes.
void Node::replug_lost() {
    const Instant at = now();
    for (auto& [name, vmpi] : vmpi_) {
        if (!connects_once(vmpi.port->options())) continue;
        if (vmpi.port->link_up()) {
            vmpi.lost_since = Instant::never();
            continue;
        }
        if (vmpi.lost_since.is_never()) vmpi.lost_since = at;
        if (at - vmpi.lost_since < kReplug) continue;
        vmpi.lost_since = at;
        vmpi.low_level->suspend(true);
        runtime_->settle_mails();
        const auto plugged = vmpi.port->replug(*pool_);
        if (plugged) {
            vmpi.low_level->suspend(false);
            vmpi.replug_failed = false;
            log::info("port", "{}: plugged in again", name);
        } else if (!vmpi.replug_failed) {
            vmpi.replug_failed = true;
            log::warn("port", "{}: its peer is gone, trying again every second", name);
        }
    }
}

// One timer for the earliest deadline of all devices.
void Node::arm_timer() {
    Instant next = Instant::never();
    for (const auto& [name, vmpi] : vmpi_) next = earlier(next, vmpi.device->next_deadline());
    if (timer_armed_ && timer_at_ == next) return;
    if (timer_armed_) loop_.cancel(timer_);
    timer_armed_ = !next.is_never();
    timer_at_ = next;
    if (!timer_armed_) return;
    const Duration wait = std::max(Duration::milliseconds(1), next - now());
    timer_ = loop_.after(wait, [this] {
        timer_armed_ = false;
        poll_devices();
    });
}

dp::Port* Node::port(const std::string& name) const {
    for (const auto& p : ports_)
        if (p->name() == name) return p.get();
    return nullptr;
}

Result<> Node::start() {
    for (const CaptureSpec& spec : config_.captures)
        if (scope_.role != "capture")
            if (auto started = captures_->start(spec); !started)
                return fail(started.error().code, "{}: {}", spec.where, started.error().message);
    for (const AppConfig& app : config_.apps)
        if (auto ok = tgen_->register_server(app.name, app.dif, app.out_dir, app.out_bytes_max);
            !ok)
            return fail(ok.error().code, "{}: {}", app.where, ok.error().message);
    SLUICE_TRY_VOID(start_ports());
    runtime_->start();
    poll_devices();
    for (const RunConfig& run : config_.runs)
        if (auto id = tgen_->start_run(run.dif, run.source, run.destination, run.words); !id)
            return fail(id.error().code, "{}: {}", run.where, id.error().message);
    return {};
}

Result<> Node::start_ports() {
    for (auto& p : ports_) SLUICE_TRY_VOID(p->start());
    return {};
}

void Node::shut_down() {
    if (down_) return;
    down_ = true;
    if (!runtime_) return;
    loop_.remove_fd(runtime_->punt().fd());
    runtime_->stop();
    // What the lcores had still to say is of no interest any more, but its packets go back.
    dp::PuntItem item;
    while (runtime_->punt().drain(&item, 1) == 1)
        if (item.packet != nullptr) rte_pktmbuf_free(item.packet);
    if (const auto stopped = captures_->stop_all(); !stopped)
        log::error("capture", "{}", stopped.error().message);
    if (lanes_) {
        lanes_->look();
        outcome_ = lanes_->close();
    }
    for (auto& p : ports_) p->stop();
}

}  // namespace sluice::app
