#include <fmt/format.h>

#include <algorithm>

#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/faults.hpp"
#include "rina/cdap.hpp"
#include "world.hpp"

// Trouble of the rarer kinds, and what is looked at because of it.
namespace sluice::sim {

namespace {

// Between a change of the network and its routes: what is noticed at once, and told at once.
constexpr Duration kSettles = Duration::seconds(3);
constexpr Duration kCompares = Duration::seconds(45);
// An operator's neighbours are parted for so long at most.
constexpr Duration kCallsAgain = Duration::seconds(12);
// Link states of who does not renew them are forgotten after 900 s.
constexpr Duration kForgotten = Duration::seconds(960);
constexpr std::uint32_t kSmallCredit = 32;

rina::CdapMessage inside_a_data(rina::Address source, rina::Address destination,
                                rina::CdapMessage inner) {
    rina::AData data;
    data.source = source;
    data.destination = destination;
    data.message = std::move(inner);
    rina::CdapMessage out;
    out.op = rina::OpCode::write;
    out.obj_class = rina::rib::kAData.obj_class;
    out.obj_name = rina::rib::kAData.obj_name;
    out.value = rina::value_of(data);
    return out;
}

rina::CdapMessage about(rina::OpCode op, rina::RibName object, std::int32_t invoke_id) {
    rina::CdapMessage out;
    out.op = op;
    out.obj_class = object.obj_class;
    out.obj_name = object.obj_name;
    out.invoke_id = invoke_id;
    return out;
}

Bytes frame_of(rina::Pci pci, const rina::PciFormat& format, const Bytes& payload) {
    if (pci.length == 0) pci.length = static_cast<std::uint32_t>(format.bytes() + payload.size());
    Bytes out(format.bytes() + payload.size());
    rina::write(pci, format, out.data());
    std::copy(payload.begin(), payload.end(), out.begin() + static_cast<long>(format.bytes()));
    return out;
}

}  // namespace

void World::equip(IpcProcessConfig& config, std::size_t node) const {
    if (scenario_.flow_control) {
        config.ipcp.flows.policies.force_flow_control = true;
        config.ipcp.flows.policies.window.initial_credit = kSmallCredit;
        config.ipcp.flows.extensions.credit = kSmallCredit;
    }
    if (scenario_.late_numbers) config.first_sequence = config.ipcp.format.sequence_mask() - 20;
    // An operator's mistake: this one says that who joins keeps the address that it has.
    config.gives_no_addresses = scenario_.address_clash && node == 1;
}

void World::plan_rarer_trouble(Duration begin, Duration end) {
    for (unsigned i = 0; i < scenario_.releases; ++i)
        plan(begin, end, [this, link = env_.rng.below(links_.size())] {
            const Link& l = links_[link];
            if (!nodes_[l.a].is_up || !nodes_[l.b].is_up) return;
            env_.trace.note(env_.now(), "release", link);
            mended_at_ = std::max(mended_at_, env_.now() + kCallsAgain);
            nodes_[l.a].levels[0]->disconnect(nodes_[l.b].levels[0]->ipcp().config().name);
        });
}

// After a link was cut and everybody had time to notice: who cannot be reached is in no table.
void World::watch_cut(Duration how_long) {
    cut_at_ = env_.now();
    const bool is_simple = scenario_.silent_cuts + scenario_.crashes + scenario_.partitions == 0 &&
                           !scenario_.crash_first && !scenario_.hostile && scenario_.loss == 0 &&
                           // Others tell only whose cable it is; keepalives find out later.
                           scenario_.lower == "wire";
    env_.clock.after(how_long, [this] { mended_at_ = std::max(mended_at_, env_.now()); });
    if (how_long < kSettles || !is_simple) return;
    static constexpr Duration kBefore = Duration::milliseconds(1);
    env_.clock.after(how_long - kBefore, [this] {
        // Who comes back has old news, which goes when tables are compared.
        const bool is_settled = mended_at_ == Instant{} || env_.now() - mended_at_ >= kCompares;
        if (env_.now() - cut_at_ >= kSettles - kBefore && is_settled) check_withdrawn();
    });
}

void World::check_withdrawn() {
    std::vector<std::size_t> part(nodes_.size());
    for (std::size_t n = 0; n < part.size(); ++n) part[n] = n;
    for (std::size_t round = 0; round < part.size(); ++round)
        for (const Link& link : links_)
            if (link.is_up()) part[link.a] = part[link.b] = std::min(part[link.a], part[link.b]);
    rmt::N1PortSet all_up;
    all_up.set_all(true);
    for (Node& a : nodes_)
        for (Node& b : nodes_) {
            if (part[a.index] == part[b.index] || !b.levels[0]->ipcp().is_member()) continue;
            const rina::Pci pci{.destination = b.levels[0]->ipcp().address()};
            if (a.levels[0]->data().pft().route(pci, all_up).status == rmt::RouteStatus::found)
                return env_.verdicts.fail(
                    "routes", fmt::format("node {} has a way to node {}, which nobody reaches",
                                          a.index, b.index));
        }
}

// The last node dies. After a quarter of an hour nothing is left that it has said of its links.
void World::check_departure() {
    const std::string gone = nodes_.back().levels[0]->ipcp().config().name;
    crash_node(nodes_.size() - 1, false);
    run_until(env_.now() + kForgotten);
    for (const Node& node : nodes_)
        if (node.is_up && !env_.verdicts.failed())
            node.levels[0]->ipcp().lfdb().for_each([&](const auto& link) {
                if (link.local_node == gone)
                    env_.verdicts.fail("ageing", fmt::format("node {} still has a link of {}, "
                                                             "which died long ago",
                                                             node.index, gone));
            });
}

// So many messages in a second are for each of them: nothing that an honest DIF has to say takes
// as many. Where all join at once each hears of each, and of its links and names.
void World::check_storm() {
    const std::uint64_t most = (1000 + 4 * nodes_.size()) * nodes_.size() * scenario_.levels;
    if (env_.messages - messages_at_ > most)
        env_.verdicts.fail("storm", fmt::format("more than {} messages in a second", most));
}

// One message, and other implementations are gone.
Bytes World::forge_malformed(Node& villain) {
    IpcProcess& own = *villain.levels[0];
    const Node& victim = nodes_[env_.rng.below(nodes_.size())];
    const rina::PciFormat format = scenario_.wide ? rina::kWideFormat : rina::kDefaultFormat;
    const auto id = static_cast<std::int32_t>(env_.rng.between(1, 1u << 30));
    rina::Pci pci;
    pci.type = static_cast<std::uint8_t>(rina::PduType::management);
    pci.source = own.ipcp().address();
    pci.destination = victim.is_up ? victim.levels[0]->ipcp().address() : rina::Address{1};
    const auto to_member = [&](rina::Address source, rina::CdapMessage inner) {
        const auto m = inside_a_data(source, pci.destination, std::move(inner));
        return frame_of(pci, format, rina::encode(m));
    };
    switch (env_.rng.below(6)) {
        case 0:
            return to_member({}, about(rina::OpCode::remove, rina::rib::kFlow, id));
        case 1:  // of which flow?
            return to_member(pci.source, about(rina::OpCode::remove, rina::rib::kFlow, id));
        case 2:
            return to_member(pci.source, about(rina::OpCode::read, rina::rib::kKeepalive, id));
        case 3:
            pci.destination = rina::kThisHop;
            return frame_of(pci, format,
                            rina::encode(about(rina::OpCode::create, rina::rib::kRouting, id)));
        case 4:  // longer than it is
            pci.length = static_cast<std::uint32_t>(format.bytes() + env_.rng.between(101, 1500));
            if (env_.rng.chance(0.5)) pci.type = static_cast<std::uint8_t>(rina::PduType::data);
            return frame_of(pci, format, Bytes(100));
        default: break;
    }
    // In answer to what came, or passed, a control PDU without its last fields.
    const Bytes& came = own.last_frame();
    rina::Pci theirs;
    if (rina::parse(came, came.size(), format, theirs) == rina::PciError::none) {
        pci.source = theirs.destination;
        pci.destination = theirs.source;
        pci.source_cep = theirs.destination_cep;
        pci.destination_cep = theirs.source_cep;
    }
    pci.type = static_cast<std::uint8_t>(rina::PduType::ack_flow_control);
    return frame_of(pci, format, Bytes(format.sequence));
}

bool World::is_at_edge(std::size_t n) const {
    return std::count_if(links_.begin(), links_.end(), [&](const Link& link) {
               return link.a == n || link.b == n;
           }) == 1;
}

// In the name of the other end of a flow between two others, with all that somebody could know who
// hears both.
Bytes World::pose() {
    if (connections_.empty()) return {};
    const Connection& c = *connections_[env_.rng.below(connections_.size())];
    const Connection::End& to = c.ends[env_.rng.below(2)];
    const Node& node = nodes_[to.node];
    const efcp::Connection* const flow =
        node.is_up ? node.levels[0]->data().find(to.flow) : nullptr;
    if (to.state != Connection::State::open || flow == nullptr) return {};
    const rina::PciFormat format = scenario_.wide ? rina::kWideFormat : rina::kDefaultFormat;
    const efcp::ConnectionIds ids = flow->ids();
    // Whose address it has for a while, as a claim was lost, is who it may say it is.
    if (ids.remote == nodes_.back().levels[0]->ipcp().address()) return {};
    efcp::ControlItem item;
    rina::Pci& pci = item.pci;
    pci.source = ids.remote;
    pci.source_cep = ids.remote_cep;
    pci.destination = ids.local;
    pci.destination_cep = ids.local_cep;
    pci.qos = ids.qos;
    switch (env_.rng.below(3)) {
        case 0:
            pci.type = static_cast<std::uint8_t>(rina::PduType::data);
            if (env_.rng.chance(0.5)) pci.flags = rina::pci_flag::kDrf;
            pci.sequence = flow->receiver().next() & format.sequence_mask();
            return frame_of(pci, format, Bytes(100));
        case 1: {  // that all has come
            pci.type = static_cast<std::uint8_t>(rina::PduType::ack_flow_control);
            pci.length = static_cast<std::uint32_t>(format.bytes() +
                                                    format.control_bytes());
            item.fields.ack = env_.rng.below(300);
            item.fields.new_rwe = ~std::uint64_t{0} >> 1 & format.sequence_mask();
            Bytes out(pci.length);
            efcp::write(item, format, out.data());
            return out;
        }
        default: {
            pci.type = static_cast<std::uint8_t>(rina::PduType::management);
            pci.source_cep = pci.destination_cep = {};
            const auto id = static_cast<std::int32_t>(env_.rng.between(1, 1u << 30));
            rina::CdapMessage over = about(rina::OpCode::remove, rina::rib::kFlow, id);
            over.obj_name = fmt::format("{}/{}", over.obj_name, env_.rng.below(8));
            return frame_of(pci, format,
                            rina::encode(inside_a_data(ids.remote, ids.local, std::move(over))));
        }
    }
}

}  // namespace sluice::sim
