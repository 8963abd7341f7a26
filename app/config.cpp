#include "app/config.hpp"

#include <algorithm>
#include <bit>
#include <set>

#include "app/capture_cli.hpp"
#include "capture/lane_stages.hpp"
#include "dataplane/port_stages.hpp"
#include "shim_hv/dp/vmpi_stage.hpp"
#include "stages/stage_table.hpp"
#include "tgen/dp/tgen_stage.hpp"

namespace sluice::app {
namespace {

using control::ConfigTable;

constexpr std::uint64_t kLcoreMax = 127;
// Room for stages that are added by hand: a pool cannot grow.
constexpr std::uint32_t kMbufsForWiring = 16384;

std::optional<LcoreId> lcore_of(ConfigTable& table) {
    const auto id = table.uint("lcore", 0, kLcoreMax).maybe();
    if (!id) return std::nullopt;
    return LcoreId(static_cast<std::uint16_t>(*id));
}

void read_vmpi(ConfigTable table, VmpiConfig& out, const shim_hv::Params& defaults,
               std::uint32_t mbuf_data_size) {
    shim_hv::Params& p = out.params;
    p = defaults;
    const std::string profile = table.choice("profile", {"sluice", "irati"}).optional("sluice");
    const bool irati = profile == "irati";
    p.profile = irati ? rina::vmpi::Profile::irati : rina::vmpi::Profile::sluice;
    const std::string role =
        table.choice("role", {"backend", "frontend", "alike"})
            .optional(defaults.role == rina::vmpi::Role::backend ? "backend" : "frontend");
    p.role = role == "backend"    ? rina::vmpi::Role::backend
             : role == "frontend" ? rina::vmpi::Role::frontend
                                  : rina::vmpi::Role::alike;
    const auto u32 = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
    p.max_sdu_rx = p.max_sdu_tx = u32(table.size("max_sdu", 256, 65000).optional(65000));
    p.max_channels =
        irati ? u32(table.uint("max_channels", 1, rina::vmpi::kIratiChannelsMax)
                        .optional(rina::vmpi::kIratiChannelsMax))
              : u32(table.uint("max_channels", 1, rina::vmpi::kChannelsMax).optional(255));
    p.window = table.uint("window", 64, 1u << 20).optional(4096);
    p.credit_unit = u32(table.size("credit_unit", rina::vmpi::kCreditUnitMin,
                                   rina::vmpi::kCreditUnitMax)
                            .optional(std::bit_ceil(mbuf_data_size)));
    p.max_pending = u32(table.uint("max_pending", 1, 1024).optional(p.max_pending));
    p.timers.keepalive = table.duration("keepalive").optional(p.timers.keepalive);
    p.timers.dead_after = table.duration("dead_after").optional(p.timers.dead_after);
    p.timers.allocate_timeout =
        table.duration("allocate_timeout").optional(p.timers.allocate_timeout);
    p.timers.quarantine = table.duration("quarantine").optional(p.timers.quarantine);
    out.mergeable = table.boolean("mergeable").maybe();
    out.backlog = u32(table.uint("backlog", 128, 1u << 20).optional(out.backlog));
    if (const auto good = shim_hv::check(p); !good) table.error("max_sdu", good.error().message);
}

void read_port(ConfigTable table, Config& config, const ConfigScope& scope) {
    PortConfig port;
    dp::PortOptions& o = port.options;
    o.name = table.string("name").required();
    o.where = table.where("name");
    o.device = table.string("device").required();
    const std::string kind = scope.vmpi
                                 ? table.choice("kind", {"vmpi"}).optional("vmpi")
                                 : table.choice("kind", {"ethernet"}).optional("ethernet");
    port.kind = kind == "vmpi" ? PortKind::vmpi : PortKind::ethernet;
    const auto descriptors = [&](const char* key) {
        return static_cast<std::uint16_t>(table.uint(key, 32, 32768).optional(1024));
    };
    o.rx_descriptors = descriptors("rx_descriptors");
    o.tx_descriptors = descriptors("tx_descriptors");
    if (scope.role == "capture")
        o.rx_queues = static_cast<std::uint16_t>(table.uint("queues", 1, 128).optional(1));
    o.scatter = scope.role == "capture";
    o.mtu = static_cast<std::uint32_t>(table.uint("mtu", 68, 65535).optional(0));
    o.promiscuous = table.boolean("promiscuous").optional(port.kind == PortKind::ethernet &&
                                                          scope.role == "capture");
    o.interrupts = table.boolean("interrupts").optional(true);
    port.lcore = lcore_of(table);
    if (port.kind == PortKind::vmpi)
        read_vmpi(table.table("vmpi"), port.vmpi, scope.defaults, config.mbuf_data_size);
    else
        port.hold = table.boolean("hold").optional(false);
    const bool twice = std::any_of(config.ports.begin(), config.ports.end(), [&](const auto& p) {
        return p.options.name == o.name;
    });
    if (twice) table.error("name", fmt::format("there is already a port named '{}'", o.name));
    config.ports.push_back(std::move(port));
}

void check_port_name(ConfigTable& table, const Config& config, const char* key,
                     const std::string& name) {
    std::string known;
    for (const PortConfig& p : config.ports) {
        if (p.options.name == name) return;
        known += (known.empty() ? "" : ", ") + p.options.name;
    }
    table.error(key, fmt::format("'{}' is no port of this file, expected one of {}", name,
                                 known.empty() ? "(there is none)" : known));
}

void read_applications(ConfigTable& root, Config& config) {
    ConfigTable tgen = root.table("tgen");
    config.tgen.lcore = lcore_of(tgen);
    config.tgen.where = tgen.where();
    // As many as the rings hold, which drivers empty only when they send the next, and as many
    // again to work with; more would only be colder.
    std::uint32_t pool = 2048 - 1;
    for (const PortConfig& port : config.ports) pool += port.options.tx_descriptors;
    config.tgen.pool =
        static_cast<std::uint32_t>(tgen.uint("pool", 2047, 1u << 22).optional(pool));
    for (ConfigTable table : root.tables("app")) {
        AppConfig app;
        app.name = table.string("name").required();
        app.dif = table.string("dif").required();
        app.where = table.where("name");
        table.choice("kind", {"tgen"}).optional("tgen");
        app.out_dir = table.string("out_dir").optional("");
        app.out_bytes_max = table.size("out_bytes_max").optional(std::uint64_t{1} << 32);
        check_port_name(table, config, "dif", app.dif);
        if (const auto name = rina::AppName::parse(app.name); !name && !app.name.empty())
            table.error("name", name.error().message);
        config.apps.push_back(std::move(app));
    }
    for (ConfigTable table : root.tables("run")) {
        RunConfig run;
        run.dif = table.string("dif").required();
        run.source = table.string("source").optional("tgen-client");
        run.destination = table.string("destination").required();
        run.where = table.where("dif");
        for (const std::string& key : table.keys())
            if (key != "dif" && key != "source" && key != "destination")
                run.words.push_back(key + "=" + table.string(key).required());
        check_port_name(table, config, "dif", run.dif);
        config.runs.push_back(std::move(run));
    }
}

void read_limits(ConfigTable table, std::uint64_t& bytes, std::uint64_t& packets,
                 Duration& duration, std::uint32_t& files) {
    bytes = table.size("filesize").optional(0);
    packets = table.uint("packets", 1, ~std::uint64_t{0}).optional(0);
    duration = table.duration("duration").optional(Duration{});
    files = static_cast<std::uint32_t>(table.uint("files", 1, 1'000'000).optional(0));
}

void read_lane(ConfigTable& table, capture::LaneConfig& lane) {
    lane.file = table.string("file").required();
    lane.snaplen = static_cast<std::uint32_t>(
        table.size("snaplen", 1, pcap::kSnaplenMax).optional(pcap::kSnaplenMax));
    lane.group_readable = table.boolean("group_readable").optional(false);
    const std::string format =
        table.choice("format", {"pcap", "pcap-us", "pcapng"}).optional("pcap");
    lane.format = format == "pcapng"    ? capture::Format::pcapng
                  : format == "pcap-us" ? capture::Format::pcap_us
                                        : capture::Format::pcap_ns;
    lane.filter = table.string("filter").optional("");
    lane.sample = static_cast<std::uint32_t>(table.uint("sample", 1, 1'000'000'000).optional(1));
    lane.flow_cutoff = table.size("flow_cutoff").optional(0);
    read_limits(table.table("rotate"), lane.rotation.bytes, lane.rotation.packets,
                lane.rotation.duration, lane.rotation.files);
    read_limits(table.table("stop"), lane.stop.bytes, lane.stop.packets, lane.stop.duration,
                lane.stop_files);
    if (const std::string limit = table.string("disk_limit").optional(""); !limit.empty())
        if (const auto good = read_disk_limit(limit, lane); !good)
            table.error("disk_limit", good.error().message);
    const auto codec =
        pcap::parse_codec(table.choice("compress", {"none", "zstd", "lz4"}).optional("none"));
    if (codec) lane.codec = *codec;
    const std::string io = table.choice("io", {"auto", "uring", "posix"}).optional("auto");
    lane.io = io == "uring"   ? capture::IoKind::uring
              : io == "posix" ? capture::IoKind::posix
                              : capture::IoKind::automatic;
    lane.preallocate = table.size("preallocate").optional(lane.preallocate);
    lane.buffer_bytes = table.size("buffer").optional(lane.buffer_bytes);
    lane.stop_on_error =
        table.choice("on_error", {"retry", "stop"}).optional("retry") == "stop";
    if (const auto good = capture::checked(lane); !good) table.error("file", good.error().message);
}

// What only a port that does nothing but capture can do.
void read_recorder(ConfigTable& table, CaptureSpec& spec, const ConfigScope& scope) {
    if (scope.role != "capture")
        for (const char* key : {"merge", "port_stamps", "io_lcore"})
            if (table.has(key))
                table.error(key, fmt::format("'{}' is for sluice-capture alone; here a capture is "
                                             "of one port, with a thread of its own", key));
    spec.merge = table.boolean("merge").optional(false);
    spec.lane.port_stamps = table.boolean("port_stamps").optional(false);
    if (const auto id = table.uint("io_lcore", 0, kLcoreMax).maybe())
        spec.io_lcore = LcoreId(static_cast<std::uint16_t>(*id));
}

void read_captures(ConfigTable& root, Config& config, const ConfigScope& scope) {
    for (ConfigTable table : root.tables("capture")) {
        CaptureSpec spec;
        if (scope.role != "capture") spec.lane = tap_defaults();
        spec.port = spec.lane.port = table.string("port").required();
        spec.where = spec.lane.where = table.where("port");
        spec.direction = table.choice("direction", {"rx", "tx", "both"}).optional("both");
        read_lane(table, spec.lane);
        read_recorder(table, spec, scope);
        for (PortConfig& port : config.ports)
            if (port.options.name == spec.port) port.options.timestamps = spec.lane.port_stamps;
        check_port_name(table, config, "port", spec.port);
        config.captures.push_back(std::move(spec));
    }
}

void read_stages(ConfigTable& root, Config& config) {
    for (ConfigTable table : root.tables("stage")) {
        dp::NodeSpec node;
        node.name = table.string("name").required();
        node.kind = table.string("kind").required();
        node.where = table.where("name");
        node.lcore = lcore_of(table);
        node.with = table.string("with").optional("");
        ConfigTable params = table.table("params");
        for (const std::string& key : params.keys())
            node.params[key] = params.string(key).required();
        const stages::StageKind* known = stages::find_kind(node.kind);
        if (known == nullptr && !node.kind.empty()) {
            std::string kinds;
            for (const auto& k : stages::stage_table())
                kinds += (kinds.empty() ? "" : ", ") + std::string(k.name);
            table.error("kind",
                        fmt::format("'{}' is no kind of stage, expected one of {}", node.kind,
                                    kinds));
        } else if (known != nullptr) {
            const auto held =
                stages::mbufs_held({node.name, node.kind, node.params, {}, {}, 0, {}});
            if (held)
                node.mbufs_held = *held;
            else
                table.error("name", held.error().message);
        }
        config.stages.push_back(std::move(node));
    }
    for (ConfigTable table : root.tables("edge")) {
        dp::EdgeSpec edge;
        edge.from = table.string("from").required();
        edge.to = table.string("to").required();
        edge.where = table.where("from");
        edge.outlet = static_cast<unsigned>(table.uint("outlet", 0, 31).optional(0));
        edge.inlet = static_cast<unsigned>(table.uint("inlet", 0, 31).optional(0));
        edge.backpressure = *dp::backpressure_of(
            table.choice("backpressure", {"drop_tail", "hold", "credit"}).optional("drop_tail"));
        edge.capacity = static_cast<unsigned>(table.uint("capacity", 128, 1u << 20).optional(1024));
        // A port's name stands for its receiving or its sending end.
        for (const PortConfig& port : config.ports) {
            if (edge.from == port.options.name) edge.from = rx_node(edge.from);
            if (edge.to == port.options.name) edge.to = tx_node(edge.to);
        }
        config.edges.push_back(std::move(edge));
    }
}

}  // namespace

std::string rx_node(const std::string& port) { return port + ".rx"; }
std::string tx_node(const std::string& port) { return port + ".tx"; }

Result<Config> load_config(const std::string& path, const ConfigScope& scope) {
    SLUICE_TRY(control::ConfigFile file, control::ConfigFile::load(path));
    Config config;
    config.path = path;
    ConfigTable root = file.root();
    ConfigTable runtime = root.table("runtime");
    config.socket = runtime.string("socket").optional("/run/sluice/" + scope.role + ".sock");
    const auto idle = [](const std::string& text) {
        return text == "busy" ? dp::Idle::busy : dp::Idle::adaptive;
    };
    config.idle = idle(runtime.choice("idle", {"busy", "adaptive"}).optional("adaptive"));
    for (ConfigTable lcore : runtime.tables("lcore")) {
        const auto id = lcore.uint("id", 0, kLcoreMax).required();
        config.idle_of[LcoreId(static_cast<std::uint16_t>(id))] =
            idle(lcore.choice("idle", {"busy", "adaptive"}).required());
    }
    ConfigTable pool = root.table("mempool");
    config.mbuf_data_size =
        static_cast<std::uint32_t>(pool.size("data_size", 512, 65400).optional(2048));
    config.mbufs_extra =
        static_cast<std::uint32_t>(pool.uint("mbufs_extra", 0, 1u << 24)
                                       .optional(scope.stages ? kMbufsForWiring : 0));
    for (ConfigTable port : root.tables("port")) read_port(port, config, scope);
    if (scope.vmpi) read_applications(root, config);
    if (scope.captures) read_captures(root, config, scope);
    if (scope.stages) read_stages(root, config);
    SLUICE_TRY_VOID(file.finish());
    SLUICE_TRY_VOID(check_captures(config));
    return config;
}

namespace {

void lay_out_vmpi(const Config& config, Layout& out) {
    const auto ports = static_cast<unsigned>(config.ports.size());
    out.kinds["vmpi"] = shim_hv::VmpiStage::kind(1);
    out.kinds["tgen"] = tgen::TgenStage::kind(ports);
    for (const PortConfig& port : config.ports) {
        const dp::PortOptions& o = port.options;
        // What a flow's window lets the peer send may have to wait here, in as many packets: two
        // whole windows, and every queue that the port has.
        const auto window = static_cast<std::uint32_t>(2 * port.vmpi.params.window);
        out.graph.nodes.push_back(
            {o.name, "vmpi", {{"device", o.device}}, port.lcore, "",
             o.rx_descriptors + 2u * o.tx_descriptors + port.vmpi.backlog + window, o.where});
    }
    dp::NodeSpec tgen{kTgenNode, "tgen", {}, config.tgen.lcore, "", 0, config.tgen.where};
    if (!tgen.lcore && !config.ports.empty()) tgen.with = config.ports.front().options.name;
    out.graph.nodes.push_back(std::move(tgen));
    for (unsigned i = 0; i < ports; ++i) {
        const std::string& name = config.ports[i].options.name;
        const std::string& where = config.ports[i].options.where;
        out.graph.edges.push_back(
            {name, 0, kTgenNode, 0, dp::Backpressure::hold, 1024, where});
        out.graph.edges.push_back(
            {kTgenNode, i, name, 0, dp::Backpressure::credit, 1024, where});
    }
}

void lay_out_lanes(const Config& config, Layout& out) {
    out.kinds["recorder"] = capture::RecorderStage::kind();
    out.kinds["capture_writer"] = capture::WriterStage::kind();
    std::set<std::string> merged;  // files; one writer for each
    for (const CaptureSpec& spec : config.captures)
        for (const PortConfig& port : config.ports) {
            const dp::PortOptions& o = port.options;
            if (o.name != spec.port) continue;
            for (unsigned q = 0; q < o.rx_queues; ++q) {
                const std::string recorder = recorder_node(o.name, q);
                out.graph.nodes.push_back({recorder, "recorder", {{"device", o.device}},
                                           port.lcore, "", o.rx_descriptors + 128u, spec.where});
                if (spec.null || (spec.merge && !merged.insert(spec.lane.file).second)) continue;
                out.graph.nodes.push_back({writer_node(o.name, q), "capture_writer",
                                           {{"file", spec.lane.file}}, spec.io_lcore,
                                           spec.io_lcore ? "" : recorder, 0, spec.where});
            }
        }
}

void lay_out_ethernet(const Config& config, const ConfigScope& scope, Layout& out) {
    out.kinds["port_rx"] = dp::PortRx::kind();
    out.kinds["port_tx"] = dp::PortTx::kind();
    stages::add_kinds(out.kinds);
    const auto used = [&](const std::string& node) {
        return std::any_of(config.edges.begin(), config.edges.end(), [&](const dp::EdgeSpec& e) {
            return e.from == node || e.to == node;
        });
    };
    for (const PortConfig& port : config.ports) {
        const dp::PortOptions& o = port.options;
        if (used(rx_node(o.name)))
            out.graph.nodes.push_back({rx_node(o.name), "port_rx", {{"device", o.device}},
                                       port.lcore, "", o.rx_descriptors, o.where});
        if (used(tx_node(o.name)))
            out.graph.nodes.push_back({tx_node(o.name), "port_tx", {{"device", o.device}},
                                       port.lcore, "", o.tx_descriptors + 512u, o.where});
    }
    if (scope.role == "capture") lay_out_lanes(config, out);
    for (const dp::NodeSpec& node : config.stages) out.graph.nodes.push_back(node);
    for (const dp::EdgeSpec& edge : config.edges) out.graph.edges.push_back(edge);
}

}  // namespace

std::string recorder_node(const std::string& port, unsigned queue) {
    return fmt::format("{}.q{}", port, queue);
}
std::string writer_node(const std::string& port, unsigned queue) {
    return fmt::format("{}.q{}.writer", port, queue);
}

capture::LaneConfig tap_defaults() {
    capture::LaneConfig lane;
    lane.buffer_bytes = std::uint64_t{32} << 20;
    lane.preallocate = std::uint64_t{64} << 20;
    return lane;
}

Result<> check_captures(const Config& config) {
    std::vector<pcap::FileSet::Options> files;
    for (const CaptureSpec& spec : config.captures) {
        if (spec.null || spec.lane.io == capture::IoKind::none) continue;
        SLUICE_TRY_VOID(capture::checked(spec.lane));
        if (spec.merge) continue;
        for (const PortConfig& port : config.ports)
            for (unsigned q = 0; q < port.options.rx_queues; ++q) {
                if (port.options.name != spec.port) continue;
                pcap::FileSet::Options o;
                o.pattern = spec.lane.file;
                o.port = spec.port;
                o.queue = q;
                o.rotates = spec.lane.rotation.rotates();
                files.push_back(std::move(o));
            }
    }
    return pcap::FileSet::check_distinct(files);
}

Result<Layout> layout_of(const Config& config, const ConfigScope& scope) {
    Layout out;
    if (scope.vmpi && config.ports.size() > 31)
        return fail(EINVAL, "{}: {} ports, expected at most 31", config.path, config.ports.size());
    if (scope.vmpi)
        lay_out_vmpi(config, out);
    else
        lay_out_ethernet(config, scope, out);
    return out;
}

}  // namespace sluice::app
