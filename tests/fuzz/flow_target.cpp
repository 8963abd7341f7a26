#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "dif_targets.hpp"
#include "flow_model.hpp"
#include "mutations.hpp"
#include "normal_dif/core/mgmt/admission.hpp"
#include "normal_dif/core/mgmt/flow_allocator.hpp"
#include "script.hpp"

namespace sluice::fuzz {

namespace {

using namespace sluice::mgmt;
using rina::Address;
using rina::AppName;
using rina::CdapMessage;

constexpr Address kHostile{3};
constexpr std::size_t kFlowsMax = 12, kHalfOpenMax = 3, kMemoriesMax = 16;

// Who has which address, and where applications are, which all members know.
struct Dif {
    std::map<std::string, Address, std::less<>> addresses{
        {"a.IPCP", Address{1}}, {"b.IPCP", Address{2}}, {"c.IPCP", kHostile}};
    std::array<bool, 2> has_server{true, true};
    bool is_told = false;  // which members are ours
};

class Directory final : public FlowDirectory {
  public:
    Directory(const Dif& dif, std::size_t index) : dif_(dif), index_(index) {}
    std::optional<std::string> ipcp_of(const AppName& application,
                                       std::uint32_t pick) const override {
        if (application.process != "server" || !dif_.has_server[pick % 2]) return std::nullopt;
        return fuzz::ipcp_of(pick % 2);
    }
    std::optional<Address> address_of(std::string_view ipcp) const override {
        const auto at = dif_.addresses.find(ipcp);
        if (at == dif_.addresses.end()) return std::nullopt;
        return at->second;
    }
    bool is_registered_here(const AppName& application) const override {
        return application.process == "server" && dif_.has_server[index_];
    }
    bool is_sluice(std::string_view) const override { return dif_.is_told; }
    std::int32_t next_invoke_id() override { return next_id_++; }

  private:
    const Dif& dif_;
    std::size_t index_;
    std::int32_t next_id_ = 3;
};

FlowAllocatorConfig config_of(std::size_t index, std::uint8_t how) {
    FlowAllocatorConfig config;
    config.ipcp = ipcp_of(static_cast<std::uint8_t>(index));
    config.flows_max = kFlowsMax;
    config.half_open_max = kHalfOpenMax;
    config.flows_of_member_max = kFlowsMax - 2;
    config.memories_max = kMemoriesMax;
    // Either may be like rlite.
    config.extensions.offered = (how >> index & 1) == 0;
    if ((how & 4) != 0) config.emission = rina::Emission::sparse;
    config.policies.force_flow_control = (how & 8) != 0;
    return config;
}

struct Member {
    Member(const Dif& dif, std::size_t index, std::uint8_t how)
        : directory(dif, index),
          allocator(config_of(index, how), {}, {}, ports, ceps, directory, Rng(index + 1)) {}

    IdPool ports{32, Duration::seconds(10)};
    IdPool ceps{32, Duration::seconds(10)};
    Directory directory;
    FlowAllocator allocator;
    FlowOutbox out;
    FlowModel model;
};

class World {
  public:
    explicit World(std::uint8_t how) {
        dif_.is_told = (how & 16) != 0;
        for (std::size_t i = 0; i < 2; ++i) members_[i] = std::make_unique<Member>(dif_, i, how);
    }

    void step(Script& script);
    void end();
    bool is_fruitful() const { return allocated_; }

  private:
    struct Packet {
        std::size_t from = 0;
        Address to{};
        CdapMessage message;
    };

    Address address(std::size_t i) const { return i == 0 ? dif_.addresses.at("a.IPCP")
                                                         : dif_.addresses.at("b.IPCP"); }
    void user(Script& script, std::uint8_t op);
    void network(Script& script, std::uint8_t op);
    void hostile(Script& script);
    void give(Address from, std::size_t to, const CdapMessage& message);
    void give(const Packet& packet) {
        for (std::size_t i = 0; i < 2; ++i)
            if (address(i) == packet.to) give(address(packet.from), i, packet.message);
    }
    void pass(Duration d);
    void take(std::size_t i);
    void check_bounds();
    void member(Script& script);
    void tune(Script& script);
    void move(std::uint8_t how);
    void ebb();

    Dif dif_;
    std::array<std::unique_ptr<Member>, 2> members_;
    std::deque<Packet> wire_;
    std::deque<Packet> said_;  // lately
    Instant now_{1'000'000'000};
    bool allocated_ = false;
};

// Carries out what was asked for.
void World::take(std::size_t i) {
    Member& member = *members_[i];
    for (FlowAction& action : member.out.actions)
        std::visit(
            [&]<typename T>(T& one) {
                if constexpr (std::is_same_v<T, SendFlowMessage>) {
                    // Whatever was said to us, what we say is understood.
                    SLUICE_CHECK(rina::check(one.message).has_value());
                    SLUICE_CHECK(rina::decode_cdap(rina::encode(one.message)).has_value());
                    wire_.push_back({i, one.to, std::move(one.message)});
                    said_.push_back(wire_.back());
                    if (said_.size() > 32) said_.pop_front();
                    if (wire_.size() > 256) wire_.pop_front();
                } else {
                    if constexpr (std::is_same_v<T, FlowAllocated>) allocated_ = true;
                    member.model.take(one);
                }
            },
            action);
    member.out.clear();
    check_bounds();
}

void World::check_bounds() {
    for (const auto& m : members_) {
        const FlowAllocator& allocator = m->allocator;
        SLUICE_CHECK(allocator.flows() <= kFlowsMax);
        SLUICE_CHECK(allocator.flows() == m->ports.in_use() &&
                     allocator.flows() == m->ceps.in_use());
        SLUICE_CHECK(allocator.unanswered() <= kMemoriesMax);
        SLUICE_CHECK(allocator.members() <= 8);
        std::map<Address, std::size_t> half_open;
        allocator.for_each([&](const FlowInfo& flow) {
            if (flow.state == FlowState::requested) ++half_open[flow.peer];
        });
        for (const auto& [peer, count] : half_open) SLUICE_CHECK(count <= kHalfOpenMax);
    }
}

// Whatever a member says, flows of others are none of its business.
void World::give(Address from, std::size_t to, const CdapMessage& message) {
    Member& member = *members_[to];
    std::vector<PortId> others;
    member.allocator.for_each([&](const FlowInfo& flow) {
        if (flow.peer != from && member.directory.address_of(flow.peer_ipcp) != from)
            others.push_back(flow.port);
    });
    member.allocator.on_message(now_, from, message, member.out);
    SLUICE_CHECK(member.out.actions.size() <= 8);
    for (const FlowAction& action : member.out.actions)
        std::visit(
            [&]<typename T>(const T& one) {
                if constexpr (requires { one.port; })
                    SLUICE_CHECK(std::find(others.begin(), others.end(), one.port) ==
                                 others.end());
            },
            action);
    take(to);
}

void World::pass(Duration d) {
    now_ = now_ + d;
    for (std::size_t i = 0; i < 2; ++i) {
        members_[i]->allocator.on_timeout(now_, members_[i]->out);
        SLUICE_CHECK(members_[i]->allocator.next_deadline() > now_);
        take(i);
    }
}

void World::user(Script& script, std::uint8_t op) {
    const std::uint8_t which = script.byte();
    const std::size_t i = which & 1;
    Member& member = *members_[i];
    const auto port = member.model.pick(which >> 1);
    if (op == 0) {
        FlowSpec spec;
        const std::uint8_t how = script.byte();
        spec.max_sdu_gap = (how & 1) != 0 ? 0 : -1;
        spec.in_order = (how & 2) != 0;
        spec.avg_bandwidth_bps = (how & 4) != 0 ? 1'000'000 : 0;
        const auto made = member.allocator.allocate(now_, app_of(0), app_of(1), spec,
                                                    which >> 1, member.out);
        if (made) member.model.asked(*made);
    } else if (port) {
        if (op == 1) static_cast<void>(member.allocator.accept(now_, *port, 9, member.out));
        if (op == 2 && member.allocator.refuse(now_, *port, member.out))
            member.model.refused(*port);
        if (op == 3) {
            // Whatever state a flow of the user's is in, the user may leave.
            SLUICE_CHECK(member.allocator.deallocate(now_, *port, member.out).has_value());
            member.model.deallocated(*port);
        }
    }
    take(i);
}

void World::network(Script& script, std::uint8_t op) {
    if (op == 4)  // all that is on the way, and the answers
        for (int i = 0; i < 64 && !wire_.empty(); ++i) {
            const Packet next = std::move(wire_.front());
            wire_.pop_front();
            give(next);
        }
    if (wire_.empty()) return;
    const auto at = wire_.begin() + static_cast<long>(script.byte() % wire_.size());
    Packet packet = *at;
    if (op != 7) wire_.erase(at);
    if (op == 6) return;
    if (op == 8) mutate(script, packet.message);
    give(packet);
}

// Somebody who heard what others said, says it again as he likes.
void World::hostile(Script& script) {
    const std::uint8_t how = script.byte();
    CdapMessage message;
    if (!said_.empty()) message = said_[how / 2 % said_.size()].message;
    for (int i = script.byte() % 4; i > 0; --i) mutate(script, message);
    give(how == 0xff ? Address{} : kHostile, how & 1, message);
}

void World::step(Script& script) {
    const std::uint8_t op = script.byte() % 16;
    if (op < 4) return user(script, op);
    if (op < 9) return network(script, op);
    switch (op) {
        case 9:
        case 10: return hostile(script);
        case 11: return pass(Duration::milliseconds(script.byte() * 20));
        case 12: {
            const Instant next = earlier(members_[0]->allocator.next_deadline(),
                                         members_[1]->allocator.next_deadline());
            if (!next.is_never()) pass(std::max(next - now_, Duration{}));
            return;
        }
        case 13: {
            if (said_.empty()) return;
            return give(Packet(said_[script.byte() % said_.size()]));
        }
        case 14: return member(script);
        default: {
            const std::uint8_t how = script.byte();
            if ((how & 2) == 0) return move(how);
            if ((how & 0x80) != 0) return tune(script);
            dif_.has_server[how & 1] = (how & 4) != 0;
        }
    }
}

// What the rest of the IPC process says of others.
void World::member(Script& script) {
    constexpr std::string_view kMembers[] = {"", "a.IPCP", "b.IPCP", "c.IPCP", "x.IPCP"};
    const std::uint8_t how = script.byte();
    Member& member = *members_[how & 1];
    if ((how & 2) != 0)
        member.allocator.on_member_gone(now_, kMembers[how / 4u % 5], Address{how / 4u % 5},
                                        member.out);
    else
        member.allocator.on_unregister(now_, app_of(how >> 2), member.out);
    take(how & 1);
}

// A member has another address now, or has begun anew. It knows that, and the other one may.
void World::move(std::uint8_t how) {
    const std::size_t i = how & 1;
    Address& own = dif_.addresses[ipcp_of(how & 1)];
    const Address before = std::exchange(own, Address{((how & 4) != 0 ? 11u : 1u) + i});
    if ((how & 0x40) != 0 && own != before) {
        members_[i]->allocator.on_own_move(now_, members_[i]->out);
        take(i);
    }
    Member& other = *members_[1 - i];
    if ((how & 8) == 0) return;
    other.allocator.on_member_moved(now_, ipcp_of(how & 1), own, (how & 16) != 0, other.out);
    take(1 - i);
}

// Other limits and other times, while there are flows.
void World::tune(Script& script) {
    const std::uint8_t how = script.byte();
    Member& member = *members_[how & 1];
    const policy::Param kParams[] = {{"flows", "2"}, {"cube.0", "3000000"}, {"unasked", "1000000"}};
    switch (how >> 1 & 3) {
        case 0: return member.allocator.set_admission(AdmitAll{});
        case 1: return member.allocator.set_admission(*make_admission("user", {kParams, 1}));
        case 2: return member.allocator.set_admission(*make_admission("bandwidth",
                                                                      {kParams + 1, 2}));
        default: {
            FlowAllocatorConfig config = member.allocator.config();
            const Duration wait = Duration::milliseconds(100 * (1 + script.byte()));
            if ((how & 8) != 0) config.allocation_timeout = wait;
            if ((how & 16) != 0) config.accept_timeout = wait;
            if ((how & 32) != 0) config.flow_del_wait = wait;
            if ((how & 64) != 0) config.duplicate_window = Duration::seconds(15) + wait;
            config.extensions.offered = (how & 128) != 0;
            member.allocator.set_config(now_, config);
        }
    }
}

// Once the users are gone all ends by itself, whether anybody answers or not.
void World::ebb() {
    for (std::size_t i = 0; i < 2; ++i) {
        Member& member = *members_[i];
        while (const auto port = member.model.pick(0)) {
            SLUICE_CHECK(member.allocator.deallocate(now_, *port, member.out).has_value());
            member.model.deallocated(*port);
        }
        take(i);
    }
    for (int i = 0; i < 1000; ++i) {
        const Instant next = earlier(members_[0]->allocator.next_deadline(),
                                     members_[1]->allocator.next_deadline());
        if (next.is_never()) break;
        pass(std::max(next - now_, Duration{}));
    }
    for (const auto& m : members_) {
        SLUICE_CHECK(m->allocator.next_deadline().is_never());
        SLUICE_CHECK(m->allocator.flows() == 0 && m->allocator.unanswered() == 0);
        SLUICE_CHECK(m->ports.in_use() == 0 && m->ceps.in_use() == 0);
        SLUICE_CHECK(m->model.empty());
    }
}

// Where nothing is left, nothing counts: there is room for a flow again.
void World::end() {
    ebb();
    wire_.clear();
    dif_.has_server = {true, true};
    now_ = now_ + Duration::seconds(20);  // ids rest for a while
    for (std::size_t i = 0; i < 2; ++i) {
        Member& member = *members_[i];
        const auto made = member.allocator.allocate(now_, app_of(0), app_of(1), {}, 0, member.out);
        SLUICE_CHECK(made.has_value());
        member.model.asked(*made);
        take(i);
    }
    ebb();
}

}  // namespace

bool flow_allocator(std::span<const std::byte> bytes) {
    Script script(bytes);
    World world(script.byte());
    while (!script.at_end()) world.step(script);
    world.end();
    return world.is_fruitful();
}

}  // namespace sluice::fuzz
