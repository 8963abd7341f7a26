#include <rte_cycles.h>
#include <rte_version.h>

#include <algorithm>

#include "app/node.hpp"
#include "dataplane/clock.hpp"
#include "stages/stage_table.hpp"

namespace sluice::app {

using control::Access;
using control::Args;
using control::Value;

namespace {

Value port_info(const dp::Port& port) {
    const dp::PortInfo i = port.info();
    Value v;
    v["port"] = i.name;
    v["id"] = i.id;
    v["device"] = i.device;
    v["driver"] = i.driver;
    v["mac"] = i.mac;
    v["link"] = i.link_up ? "up" : "down";
    v["speed_mbps"] = i.speed_mbps;
    v["mtu"] = i.mtu;
    v["rx_queues"] = i.rx_queues;
    v["rx_descriptors"] = i.rx_descriptors;
    v["tx_queues"] = i.tx_queues;
    v["tx_descriptors"] = i.tx_descriptors;
    v["promiscuous"] = i.promiscuous;
    v["interrupts"] = port.interrupts();
    v["started"] = port.started();
    return v;
}

Value port_stats(const dp::Port& port) {
    const dp::PortStats s = port.stats();
    Value v;
    v["port"] = port.name();
    v["rx_packets"] = s.rx_packets;
    v["rx_bytes"] = s.rx_bytes;
    v["rx_missed"] = s.rx_missed;
    v["rx_errors"] = s.rx_errors;
    v["rx_no_mbuf"] = s.rx_no_mbuf;
    v["tx_packets"] = s.tx_packets;
    v["tx_bytes"] = s.tx_bytes;
    v["tx_errors"] = s.tx_errors;
    return v;
}

}  // namespace

Result<std::vector<dp::Port*>> Node::ports(const Args& args) const {
    std::vector<dp::Port*> out;
    std::string known;
    for (const auto& p : ports_) {
        known += (known.empty() ? "" : ", ") + p->name();
        if (!args.has("PORT") || args.str("PORT") == p->name()) out.push_back(p.get());
    }
    if (out.empty() && args.has("PORT"))
        return fail(ENOENT, "'{}' is no port here, expected all or one of {}", args.str("PORT"),
                    known.empty() ? "(there is none)" : known);
    return out;
}

void Node::add_commands(control::CommandTable& table) {
    const auto names = [this] {
        std::vector<std::string> out;
        for (const auto& p : ports_) out.push_back(p->name());
        return out;
    };
    table.set_completer("PORT", names);
    table.set_completer("DIF", names);
    table.set_completer("ID", [this] {
        return tgen_ ? tgen_->run_ids() : std::vector<std::string>();
    });
    table.set_completer("STAGE", [this] {
        std::vector<std::string> out;
        for (const auto& node : runtime_->plan().graph.nodes) out.push_back(node.name);
        return out;
    });
    table.set_completer("KIND", [] {
        std::vector<std::string> out;
        for (const auto& kind : stages::stage_table()) out.emplace_back(kind.name);
        return out;
    });
    add_port_commands(table);
    add_runtime_commands(table);
    if (scope_.vmpi) add_flow_commands(table);
    add_capture_commands(table);
    if (scope_.stages) add_stage_commands(table);
}

void Node::add_port_commands(control::CommandTable& table) {
    table.add({"show port info|stats|xstats (all|PORT)", Access::read,
               "Ports: what they are, what they counted, what their driver counted.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const std::vector<dp::Port*> chosen, ports(args));
                   Value rows = Value::array();
                   for (const dp::Port* p : chosen) {
                       if (args.word(2) == "info") {
                           rows.push_back(port_info(*p));
                       } else if (args.word(2) == "stats") {
                           rows.push_back(port_stats(*p));
                       } else {
                           for (const auto& [name, count] : p->xstats())
                               if (count != 0)
                                   rows.push_back({{"port", p->name()},
                                                   {"counter", name},
                                                   {"value", count}});
                       }
                   }
                   return rows;
               }});
    table.add({"clear port stats (all|PORT)", Access::write, "Counts ports from zero again.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const std::vector<dp::Port*> chosen, ports(args));
                   for (dp::Port* p : chosen) p->clear_stats();
                   return Value();
               }});
}

void Node::add_runtime_commands(control::CommandTable& table) {
    table.add({"start", Access::write, "Starts forwarding.", [this](const Args&) -> Result<Value> {
                   runtime_->start();
                   poll_devices();
                   return Value();
               }});
    table.add({"stop", Access::write, "Stops forwarding; what is queued is drained first.",
               [this](const Args&) -> Result<Value> {
                   runtime_->stop();
                   return Value();
               }});
    table.add({"quit", Access::write, "Ends the program, with everything flushed.",
               [this](const Args&) -> Result<Value> {
                   loop_.stop();
                   return Value();
               }});
    table.add({"show version", Access::read, "Versions and the instruction set in use.",
               [this](const Args&) -> Result<Value> {
                   Value v;
                   v["sluice"] = SLUICE_VERSION;
                   v["role"] = scope_.role;
                   v["dpdk"] = rte_version();
                   v["machine"] = SLUICE_MACHINE;
                   v["tsc_hz"] = dp::TscClock::instance().hz();
                   return v;
               }});
    table.add({"show plan [dot]", Access::read, "What each lcore does, as text or for graphviz.",
               [this](const Args& args) -> Result<Value> {
                   return Value(args.has("dot") ? dp::to_dot(runtime_->plan())
                                                : dp::to_text(runtime_->plan()));
               }});
    table.add({"show drops", Access::read, "Every packet that went no further, and why.",
               [this](const Args&) -> Result<Value> { return show_drops(); }});
    table.add({"show lcores", Access::read, "Where the cycles of each lcore go.",
               [this](const Args&) -> Result<Value> { return show_lcores(); }});
    table.add({"show stages", Access::read, "What each stage took in and gave out.",
               [this](const Args&) -> Result<Value> { return show_stages(); }});
    table.add({"show mempool", Access::read, "Packet buffers in use.",
               [this](const Args&) -> Result<Value> {
                   Value rows = Value::array();
                   for (const dp::Mempool* p : {pool_.get(), tgen_pool_.get()})
                       if (p != nullptr)
                           rows.push_back({{"pool", p->get()->name},
                                           {"size", p->size()},
                                           {"in_use", p->in_use()}});
                   return rows;
               }});
    table.add({"clear stats", Access::write, "Counts stages, drops and lcores from zero again.",
               [this](const Args&) -> Result<Value> {
                   runtime_->clear_stats();
                   for (auto& p : ports_) p->clear_stats();
                   return Value();
               }});
}

Value Node::show_drops() const {
    Value rows = Value::array();
    for (const dp::StageStats& s : runtime_->stage_stats())
        for (std::size_t i = 0; i < kDropReasonCount; ++i) {
            if (s.drops[i] == 0) continue;
            const DropReasonInfo& info = kDropReasonInfo[i];
            rows.push_back({{"stage", s.name},
                            {"reason", info.name},
                            {"packets", s.drops[i]},
                            {"meaning", info.text}});
        }
    for (const Value& row : lanes_ ? lanes_->drops() : captures_->drops()) rows.push_back(row);
    return rows;
}

Value Node::show_lcores() const {
    static constexpr const char* kBuckets[dp::kBurstHistogram] = {"0",    "1",     "2-3",   "4-7",
                                                                  "8-15", "16-31", "32-63", "64+"};
    Value rows = Value::array();
    const std::vector<dp::StageStats> stages = runtime_->stage_stats();
    for (const dp::LcoreStats& l : runtime_->lcore_stats()) {
        const double total = static_cast<double>(l.busy_cycles + l.idle_cycles + l.sleep_cycles);
        const auto percent = [&](std::uint64_t part) {
            return total == 0 ? 0.0
                              : static_cast<double>(static_cast<std::int64_t>(
                                    static_cast<double>(part) / total * 1000 + 0.5)) / 10;
        };
        Value v;
        v["lcore"] = l.id.value;
        v["idle"] = l.idle == dp::Idle::busy ? "busy" : "adaptive";
        v["busy_percent"] = percent(l.busy_cycles);
        v["sleep_percent"] = percent(l.sleep_cycles);
        v["iterations"] = l.iterations;
        v["sleeps"] = l.sleeps;
        v["cycles"] = {{"busy", l.busy_cycles}, {"idle", l.idle_cycles}, {"sleep", l.sleep_cycles}};
        Value bursts;
        for (unsigned i = 1; i < dp::kBurstHistogram; ++i)
            bursts[kBuckets[i]] = l.burst_histogram[i];
        v["bursts"] = bursts;
        Value stalls;
        for (std::size_t i = 0; i < dp::kStallKinds; ++i)
            stalls[dp::kStallNames[i]] = {{"count", l.stalls[i].count},
                                          {"us", l.stalls[i].ns / 1000},
                                          {"longest_us", l.stalls[i].longest_ns / 1000}};
        v["stalls"] = stalls;
        Value own = Value::array();
        for (const dp::StageStats& s : stages)
            if (s.lcore == l.id)
                own.push_back({{"stage", s.name},
                               {"cycles_per_packet", s.cycles_per_packet},
                               {"packets", s.packets_in}});
        v["stages"] = own;
        rows.push_back(v);
    }
    return rows;
}

Value Node::show_stages() const {
    Value rows = Value::array();
    for (const dp::StageStats& s : runtime_->stage_stats()) {
        Value v;
        v["stage"] = s.name;
        v["kind"] = s.kind;
        v["lcore"] = s.lcore.value;
        v["packets_in"] = s.packets_in;
        v["packets_out"] = s.packets_out;
        v["bursts"] = s.bursts_in;
        std::uint64_t drops = 0;
        for (const std::uint64_t n : s.drops) drops += n;
        v["drops"] = drops;
        Value own;
        for (const auto& [desc, count] : s.own) own[std::string(desc.name)] = count;
        v["counters"] = own;
        rows.push_back(v);
    }
    return rows;
}

// A graph that an operator has changed: planned, and put in place of the one before.
Result<> Node::rebuild(dp::Graph graph) {
    SLUICE_TRY(dp::Plan plan, dp::plan(graph, layout_.kinds, placement_));
    if (plan.mbufs > pool_->size())
        return fail(ENOSPC, "this needs {} mbufs, the pool has {}: start with more in [mempool] "
                    "mbufs_extra", plan.mbufs, pool_->size());
    dp::Runtime::Stages made;
    for (const dp::NodeSpec& node : graph.nodes)
        if (runtime_->stage(node.name) == nullptr) {
            SLUICE_TRY(made[node.name], stages::make_stage(node, {pool_->get()}));
        }
    return runtime_->load(std::move(plan), layout_.kinds, std::move(made));
}

void Node::add_stage_commands(control::CommandTable& table) {
    table.add({"show stage kinds", Access::read, "Kinds of stages and their parameters.",
               [](const Args&) -> Result<Value> {
                   Value rows = Value::array();
                   for (const auto& kind : stages::stage_table()) {
                       std::string params;
                       for (const auto& p : kind.params)
                           params += (params.empty() ? "" : " ") + std::string(p.key) + "=";
                       rows.push_back(
                           {{"kind", kind.name}, {"parameters", params}, {"help", kind.help}});
                   }
                   return rows;
               }});
    table.add({"add stage NAME KIND [lcore <LCORE:uint>] [with <PARAMETERS:rest>]", Access::write,
               "Makes a stage: add stage gen0 txgen with size=64 count=1000.",
               [this](const Args& args) -> Result<Value> {
                   dp::NodeSpec node;
                   node.name = args.str("NAME");
                   node.kind = args.str("KIND");
                   if (const auto lcore = args.optional_uint("LCORE"))
                       node.lcore = LcoreId(static_cast<std::uint16_t>(*lcore));
                   const std::string rest = args.optional_str("PARAMETERS").value_or("");
                   for (std::size_t at = 0; at < rest.size();) {
                       const std::size_t end = std::min(rest.find(' ', at), rest.size());
                       const std::string word = rest.substr(at, end - at);
                       at = end + 1;
                       if (word.empty()) continue;
                       const std::size_t sign = word.find('=');
                       if (sign == std::string::npos)
                           return fail(EINVAL, "'{}' is no parameter, expected key=value", word);
                       node.params[word.substr(0, sign)] = word.substr(sign + 1);
                   }
                   if (stages::find_kind(node.kind) == nullptr)
                       return fail(EINVAL,
                                   "'{}' is no kind of stage; 'show stage kinds' lists them",
                                   node.kind);
                   SLUICE_TRY(node.mbufs_held, stages::mbufs_held(node));
                   dp::Graph graph = runtime_->plan().graph;
                   graph.nodes.push_back(node);
                   SLUICE_TRY_VOID(rebuild(std::move(graph)));
                   return Value();
               }});
    table.add({"remove stage STAGE", Access::write, "Takes a stage and its edges away.",
               [this](const Args& args) -> Result<Value> {
                   dp::Graph graph = runtime_->plan().graph;
                   const std::string& name = args.str("STAGE");
                   if (std::erase_if(graph.nodes,
                                     [&](const auto& n) { return n.name == name; }) == 0)
                       return fail(ENOENT, "there is no stage '{}'", name);
                   std::erase_if(graph.edges,
                                 [&](const auto& e) { return e.from == name || e.to == name; });
                   SLUICE_TRY_VOID(rebuild(std::move(graph)));
                   return Value();
               }});
    add_edge_commands(table);
}

void Node::add_edge_commands(control::CommandTable& table) {
    table.add({"connect FROM TO [outlet <OUTLET:uint>] [inlet <INLET:uint>] "
               "[backpressure drop_tail|hold|credit]",
               Access::write, "Leads a stage's outlet to another stage.",
               [this](const Args& args) -> Result<Value> {
                   dp::EdgeSpec edge;
                   edge.from = args.str("FROM");
                   edge.to = args.str("TO");
                   edge.outlet = static_cast<unsigned>(args.optional_uint("OUTLET").value_or(0));
                   edge.inlet = static_cast<unsigned>(args.optional_uint("INLET").value_or(0));
                   edge.backpressure = args.has("hold")     ? dp::Backpressure::hold
                                       : args.has("credit") ? dp::Backpressure::credit
                                                            : dp::Backpressure::drop_tail;
                   dp::Graph graph = runtime_->plan().graph;
                   graph.edges.push_back(edge);
                   SLUICE_TRY_VOID(rebuild(std::move(graph)));
                   return Value();
               }});
    table.add({"disconnect FROM [outlet <OUTLET:uint>]", Access::write,
               "Takes the edge at a stage's outlet away.",
               [this](const Args& args) -> Result<Value> {
                   dp::Graph graph = runtime_->plan().graph;
                   const auto outlet = args.optional_uint("OUTLET").value_or(0);
                   if (std::erase_if(graph.edges, [&](const auto& e) {
                           return e.from == args.str("FROM") && e.outlet == outlet;
                       }) == 0)
                       return fail(ENOENT, "outlet {} of '{}' is not connected", outlet,
                                   args.str("FROM"));
                   SLUICE_TRY_VOID(rebuild(std::move(graph)));
                   return Value();
               }});
}

}  // namespace sluice::app
