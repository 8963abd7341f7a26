#include "ipc_api/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>

#include "base/rng.hpp"
#include "ipc_api/packets.hpp"
#include "ipc_api/wire.hpp"
#include "rina/rlite_name.hpp"

using namespace sluice;
using namespace sluice::ipc_api;

namespace {

constexpr int kNothing = -1;  // no answer yet
constexpr int kClosed = -2;

// Writes down what it is asked, and answers when the test says so.
struct FakeProvider final : IpcProvider {
    struct Asked {
        std::string what;
        RequestId request;
        std::uint64_t id = 0;
    };

    void set_user(IpcUser* given) override { user = given; }
    void register_app(RequestId request, RegistrationId registration, const rina::AppName& name,
                      const std::string& dif) override {
        note("register " + rina::rlite_name(name) + " in " + dif, request, registration.value);
    }
    void unregister_app(RequestId request, RegistrationId registration) override {
        note("unregister", request, registration.value);
    }
    void allocate_flow(RequestId request, const FlowRequest& what) override {
        note("allocate " + rina::rlite_name(what.remote), request, 0);
    }
    void cancel_allocation(RequestId request) override { note("cancel", request, 0); }
    void respond_flow(RequestId request, IncomingId id, bool accept) override {
        note(accept ? "accept" : "refuse", request, id.value);
    }
    void attach(FlowId flow, FlowSocket socket) override {
        sockets.emplace(flow.value, std::move(socket));
    }
    void deallocate(FlowId flow) override { note("deallocate", RequestId(), flow.value); }

    void note(std::string what, RequestId request, std::uint64_t id) {
        asked.push_back({std::move(what), request, id});
    }
    // The next one, which must be this.
    Asked next(const std::string& what) {
        REQUIRE_FALSE(asked.empty());
        Asked first = asked.front();
        asked.erase(asked.begin());
        REQUIRE(first.what == what);
        return first;
    }

    IpcUser* user = nullptr;
    std::vector<Asked> asked;
    std::map<std::uint64_t, FlowSocket> sockets;
};

struct Server {
    explicit Server(ServerOptions options = {}) {
        char name[] = "/tmp/sluice-api-server-XXXXXX";
        folder = ::mkdtemp(name);
        options.socket.path = path();
        auto opened = ApiServer::open(std::move(options), provider);
        REQUIRE(opened);
        api = std::move(*opened);
    }
    ~Server() {
        api.reset();
        ::rmdir(folder.c_str());
    }

    std::string path() const { return folder + "/api.sock"; }
    // All that there is to do now. The kernel tells it before a client's call returns.
    void settle() {
        pollfd ready = {api->fd(), POLLIN, 0};
        for (int i = 0; i < 10000 && ::poll(&ready, 1, 0) == 1; ++i) api->on_ready(now);
        REQUIRE(::poll(&ready, 1, 0) == 0);
    }
    void pass(Duration time) {
        now = now + time;
        api->on_ready(now);
        settle();
    }

    std::string folder;
    FakeProvider provider;
    std::unique_ptr<ApiServer> api;
    Instant now = Instant::zero() + Duration::seconds(1);
};

Message ask_name(Kind kind, std::string_view name, std::string_view dif = {}) {
    Message message;
    message.kind = kind;
    message.local = name;
    message.dif = dif;
    return message;
}

Message ask_flow(std::string_view remote, std::string_view local = "me") {
    Message message;
    message.kind = Kind::allocate;
    message.remote = remote;
    message.local = local;
    rina_flow_spec_unreliable(&message.spec);
    return message;
}

Message answer_flow(std::uint32_t handle, int code) {
    Message message;
    message.kind = Kind::respond;
    message.number = handle;
    message.code = code;
    return message;
}

struct Answer {
    int code = kNothing;
    OwnedFd flow;
};

// An answer that may be there.
Answer answer_on(int fd) {
    ReceivedPacket packet;
    Answer answer;
    const Receive got = receive(fd, packet);
    if (got == Receive::end) answer.code = kClosed;
    if (got != Receive::packet) return answer;
    const auto message = decode(packet.bytes());
    REQUIRE(message);
    REQUIRE(message->kind == Kind::result);
    answer.code = message->code;
    answer.flow = std::move(packet.passed);
    return answer;
}

struct Client {
    explicit Client(Server& to) : server(to) {
        fd = OwnedFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address = {};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, server.path().data(), server.path().size());
        REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                          sizeof address) == 0);
    }
    Client& opened() {
        REQUIRE(send(fd.get(), Message{}, -1) == 0);
        server.settle();
        REQUIRE(answer_on(fd.get()).code == 0);
        return *this;
    }
    // On the connection; an answer comes there.
    void say(const Message& message) {
        REQUIRE(send(fd.get(), message, -1) == 0);
        server.settle();
    }
    // The end on which the answer comes.
    OwnedFd ask(const Message& message) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        OwnedFd ours(ends[0]);
        const OwnedFd theirs(ends[1]);
        REQUIRE(send(fd.get(), message, theirs.get()) == 0);
        server.settle();
        return ours;
    }
    int answer() { return answer_on(fd.get()).code; }
    // A registration that the provider grants.
    RegistrationId has(const std::string& name) {
        const OwnedFd end = ask(ask_name(Kind::register_app, name));
        const auto asked = server.provider.next("register " + name + " in ");
        server.provider.user->on_done(asked.request, 0);
        REQUIRE(answer_on(end.get()).code == 0);
        return RegistrationId(asked.id);
    }
    // The next request of a flow; 0 if there is none.
    std::uint32_t incoming() {
        ReceivedPacket packet;
        if (receive(fd.get(), packet) != Receive::packet) return 0;
        const auto message = decode(packet.bytes());
        REQUIRE(message);
        REQUIRE(message->kind == Kind::incoming);
        return message->number;
    }

    Server& server;
    OwnedFd fd;
};

void flow_comes(Server& server, std::uint64_t id, RegistrationId to) {
    FlowRequest request;
    request.local.process = "me";
    request.remote.process = "them";
    rina_flow_spec_unreliable(&request.spec);
    server.provider.user->on_incoming(IncomingId(id), to, request);
    server.settle();
}

}  // namespace

TEST_CASE("a name is registered, unregistered, and goes with its connection") {
    Server server;
    auto& provider = server.provider;
    {
        Client client(server);
        client.opened();
        OwnedFd end = client.ask(ask_name(Kind::register_app, "a|1", "d"));
        const auto asked = provider.next("register a|1 in d");
        CHECK(answer_on(end.get()).code == kNothing);
        CHECK(server.api->pending() == 1);
        provider.user->on_done(asked.request, 0);
        CHECK(answer_on(end.get()).code == 0);
        CHECK(server.api->registrations() == 1);

        end = client.ask(ask_name(Kind::register_app, "b"));
        provider.user->on_done(provider.next("register b in ").request, EADDRINUSE);
        CHECK(answer_on(end.get()).code == EADDRINUSE);
        CHECK(server.api->registrations() == 1);

        end = client.ask(ask_name(Kind::unregister_app, "a|1", "other"));
        CHECK(answer_on(end.get()).code == ENOENT);
        end = client.ask(ask_name(Kind::unregister_app, "a|1"));
        const auto leaving = provider.next("unregister");
        CHECK(leaving.id == asked.id);
        // Once is enough.
        const OwnedFd second = client.ask(ask_name(Kind::unregister_app, "a|1"));
        CHECK(answer_on(second.get()).code == ENOENT);
        provider.user->on_done(leaving.request, 0);
        CHECK(answer_on(end.get()).code == 0);
        CHECK(server.api->registrations() == 0);

        client.has("c");
        client.ask(ask_name(Kind::register_app, "late"));
    }
    server.settle();
    // The one that is not there yet is given back when it is.
    const auto late = provider.next("register late in ");
    provider.user->on_done(provider.next("unregister").request, 0);
    CHECK(provider.asked.empty());
    provider.user->on_done(late.request, 0);
    const auto back = provider.next("unregister");
    CHECK(back.id == late.id);
    provider.user->on_done(back.request, 0);
    CHECK(server.api->registrations() == 0);
    CHECK(server.api->connections() == 0);
    CHECK(server.api->pending() == 0);
}

TEST_CASE("a flow is asked for, had, and ends") {
    Server server;
    auto& provider = server.provider;
    Client client(server);
    client.say(ask_flow("them"));
    const auto asked = provider.next("allocate them");
    provider.user->on_flow(asked.request, FlowId(7), 1400);
    Answer answer = answer_on(client.fd.get());
    CHECK(answer.code == 0);
    REQUIRE(answer.flow.valid());
    CHECK(rina_flow_mss_get(answer.flow.get()) == 1400);
    CHECK(client.answer() == kClosed);
    CHECK(server.api->connections() == 0);
    CHECK(server.api->flows() == 1);
    REQUIRE(provider.sockets.contains(7));
    std::byte bytes[1400];
    FlowSocket::Slot slot = {bytes, sizeof bytes, 0};
    REQUIRE(::write(answer.flow.get(), "abc", 3) == 3);
    CHECK(provider.sockets.at(7).read({&slot, 1}) == 1);
    CHECK(slot.length == 3);
    provider.user->on_flow_ended(FlowId(7));
    provider.user->on_flow_ended(FlowId(7));
    CHECK(server.api->flows() == 0);
    CHECK(server.api->counters().flows == 1);
}

TEST_CASE("a flow that nobody waits for any more is given back") {
    Server server;
    auto& provider = server.provider;
    std::optional<Client> client(server);
    client->say(ask_flow("them"));
    const auto asked = provider.next("allocate them");
    client.reset();
    server.settle();
    CHECK(provider.next("cancel").request == asked.request);
    CHECK(server.api->pending() == 0);
    provider.user->on_flow(asked.request, FlowId(1), 1400);
    CHECK(provider.next("deallocate").id == 1);
    provider.user->on_done(asked.request, ETIMEDOUT);
    CHECK(server.api->flows() == 0);

    // Answered, but the client went before it read the answer: its end closes.
    client.emplace(server);
    client->say(ask_flow("them"));
    provider.user->on_flow(provider.next("allocate them").request, FlowId(2), 1400);
    client.reset();
    std::byte bytes[1400];
    FlowSocket::Slot slot = {bytes, sizeof bytes, 0};
    provider.sockets.at(2).read({&slot, 1});
    CHECK(provider.sockets.at(2).state() == FlowSocket::State::closed_by_app);
}

TEST_CASE("requests for flows are accepted, refused, and pass") {
    Server server;
    auto& provider = server.provider;
    Client client(server);
    client.opened();
    const RegistrationId name = client.has("me");
    flow_comes(server, 1, name);
    flow_comes(server, 2, name);
    flow_comes(server, 3, name);
    const std::uint32_t first = client.incoming();
    const std::uint32_t second = client.incoming();
    const std::uint32_t third = client.incoming();
    CHECK((first > 0 && second > first && third > second));
    OwnedFd end = client.ask(answer_flow(second, 0));
    const auto accepted = provider.next("accept");
    CHECK(accepted.id == 2);
    provider.user->on_flow(accepted.request, FlowId(4), 1400);
    CHECK(answer_on(end.get()).flow.valid());
    CHECK(answer_on(client.ask(answer_flow(second, 0)).get()).code == ESTALE);
    end = client.ask(answer_flow(first, 1));
    provider.user->on_done(provider.next("refuse").request, 0);
    CHECK(answer_on(end.get()).code == 0);
    provider.user->on_incoming_gone(IncomingId(3));
    CHECK(answer_on(client.ask(answer_flow(third, 0)).get()).code == ESTALE);
    // Of somebody else.
    flow_comes(server, 5, name);
    Client other(server);
    other.opened();
    CHECK(answer_on(other.ask(answer_flow(client.incoming(), 0)).get()).code == ESTALE);
    CHECK(server.api->unanswered() == 1);
    // The flow is there, and the provider cannot after all.
    flow_comes(server, 6, name);
    end = client.ask(answer_flow(client.incoming(), 0));
    provider.user->on_done(provider.next("accept").request, ETIMEDOUT);
    CHECK(answer_on(end.get()).code == ETIMEDOUT);
    // A name that goes takes its requests along.
    end = client.ask(ask_name(Kind::unregister_app, "me"));
    CHECK(provider.next("refuse").id == 5);
    provider.next("unregister");
    flow_comes(server, 7, name);
    CHECK(provider.next("refuse").id == 7);
    CHECK(server.api->unanswered() == 0);
}

TEST_CASE("who does not answer keeps nobody waiting") {
    ServerOptions options;
    options.backlog = 3;
    options.answer_time = Duration::seconds(5);
    Server server(options);
    auto& provider = server.provider;
    Client client(server);
    client.opened();
    const RegistrationId name = client.has("me");
    flow_comes(server, 1, name);
    server.pass(Duration::seconds(3));
    flow_comes(server, 2, name);
    flow_comes(server, 3, name);
    CHECK(provider.asked.empty());
    flow_comes(server, 4, name);
    CHECK(provider.next("refuse").id == 4);
    CHECK(server.api->counters().refused_backlog == 1);
    server.pass(Duration::milliseconds(1999));
    CHECK(provider.asked.empty());
    server.pass(Duration::milliseconds(1));
    CHECK(provider.next("refuse").id == 1);
    CHECK(answer_on(client.ask(answer_flow(client.incoming(), 0)).get()).code == ESTALE);
    server.pass(Duration::seconds(3));
    CHECK(provider.next("refuse").id == 2);
    CHECK(provider.next("refuse").id == 3);
    CHECK(server.api->counters().expired_incoming == 3);
    CHECK(server.api->connections() == 1);
}

TEST_CASE("who never reads is dropped") {
    Server server;
    auto& provider = server.provider;
    Client client(server);
    client.opened();
    const RegistrationId name = client.has("me");
    std::uint64_t id = 0;
    while (server.api->connections() == 1) {
        REQUIRE(id < 100000);
        flow_comes(server, ++id, name);
        provider.user->on_incoming_gone(IncomingId(id));
    }
    CHECK(id > 100);
    CHECK(server.api->counters().dropped_unread == 1);
    CHECK(provider.next("refuse").id == id);
    provider.user->on_done(provider.next("unregister").request, 0);
    CHECK(server.api->registrations() == 0);
    // The client finds what waited for it, and then the end.
    std::uint64_t seen = 0;
    while (client.incoming() != 0) ++seen;
    CHECK(seen == id - 1);
}

TEST_CASE("each user has limits") {
    ServerOptions options;
    options.limits = {.connections = 3, .registrations = 2, .flows = 2, .requests = 3};
    Server server(options);
    auto& provider = server.provider;
    Client client(server);
    client.opened();
    const RegistrationId name = client.has("a");
    client.has("b");
    CHECK(answer_on(client.ask(ask_name(Kind::register_app, "c")).get()).code == EDQUOT);
    CHECK(server.api->counters().refused_registrations == 1);
    provider.user->on_done(
        (client.ask(ask_name(Kind::unregister_app, "b")), provider.next("unregister").request), 0);
    CHECK(answer_on(client.ask(ask_name(Kind::register_app, "c")).get()).code == kNothing);
    provider.user->on_done(provider.next("register c in ").request, 0);

    Client one(server);
    one.say(ask_flow("x"));
    Client two(server);
    two.say(ask_flow("y"));
    Client three(server);
    server.settle();
    CHECK(three.answer() == EMFILE);
    CHECK(server.api->counters().refused_connections == 1);
    flow_comes(server, 1, name);
    CHECK(answer_on(client.ask(answer_flow(client.incoming(), 0)).get()).code == EMFILE);
    provider.next("allocate x");
    provider.next("allocate y");
    CHECK(provider.next("refuse").id == 1);
    CHECK(server.api->counters().refused_flows == 1);
    one.fd.reset();
    server.settle();
    provider.next("cancel");
    Client four(server);
    four.say(ask_flow("z"));
    provider.user->on_flow(provider.next("allocate z").request, FlowId(1), 1400);
    Client five(server);
    five.say(ask_flow("z"));
    CHECK(five.answer() == EMFILE);
    provider.user->on_flow_ended(FlowId(1));
    Client six(server);
    six.say(ask_flow("z"));
    CHECK(six.answer() == kNothing);
}

TEST_CASE("requests without end are refused") {
    ServerOptions options;
    options.limits.requests = 2;
    Server server(options);
    Client client(server);
    client.opened();
    const OwnedFd a = client.ask(ask_name(Kind::register_app, "a"));
    const OwnedFd b = client.ask(ask_name(Kind::register_app, "b"));
    CHECK(answer_on(client.ask(ask_name(Kind::register_app, "c")).get()).code == EBUSY);
    CHECK(server.api->counters().refused_requests == 1);
    Client other(server);
    other.say(ask_flow("x"));
    CHECK(other.answer() == EBUSY);
    CHECK(other.answer() == kClosed);
    server.provider.user->on_done(server.provider.next("register a in ").request, 0);
    CHECK(answer_on(a.get()).code == 0);
    const OwnedFd d = client.ask(ask_name(Kind::register_app, "d"));
    CHECK(answer_on(d.get()).code == kNothing);
}

TEST_CASE("rules are kept") {
    ServerOptions options;
    options.rules = {{.uid = {}, .gid = {}, .action = Action::register_name, .names = "mine|*"},
                     {.uid = {}, .gid = {}, .action = Action::allocate_from, .names = "mine*"},
                     {.uid = {}, .gid = {}, .action = Action::allocate_to, .names = "yours"}};
    Server server(options);
    Client client(server);
    client.opened();
    CHECK(answer_on(client.ask(ask_name(Kind::register_app, "yours")).get()).code == EACCES);
    // As it will be known, whatever it was written like.
    CHECK(answer_on(client.ask(ask_name(Kind::register_app, "mine|")).get()).code == EACCES);
    client.has("mine|1");
    for (const auto& [remote, local] : {std::pair("yours", "other"), std::pair("mine", "mine"),
                                        std::pair("yours", "")}) {
        Client asking(server);
        asking.say(ask_flow(remote, local));
        CHECK(asking.answer() == EACCES);
    }
    Client asking(server);
    asking.say(ask_flow("yours", "mine"));
    CHECK(asking.answer() == kNothing);
    CHECK(server.api->counters().refused_access == 5);
}

TEST_CASE("nonsense ends the connection it comes on, and no other") {
    Server server;
    Client good(server);
    good.opened();
    std::uint64_t dropped = 0;
    const auto is_dropped = [&](Client& client) {
        server.settle();
        CHECK(server.api->counters().dropped_malformed == ++dropped);
        CHECK(server.api->connections() == 1);
        while (client.answer() >= 0) continue;
    };
    {
        Client client(server);  // not a message
        REQUIRE(::send(client.fd.get(), "hello", 5, 0) == 5);
        is_dropped(client);
    }
    {
        Client client(server);  // far too long
        const std::string text(100000, 'x');
        REQUIRE(::send(client.fd.get(), text.data(), text.size(), 0) == 100000);
        is_dropped(client);
    }
    {
        Client client(server);  // another version, which is told so
        MessageBuffer buffer;
        const std::size_t size = encode(Message{}, buffer);
        buffer[4] = std::byte{9};
        REQUIRE(::send(client.fd.get(), buffer.data(), size, 0) > 0);
        server.settle();
        CHECK(client.answer() == EPROTO);
        is_dropped(client);
    }
    {
        Client client(server);  // before it is open
        client.ask(ask_name(Kind::register_app, "a"));
        is_dropped(client);
    }
    {
        Client client(server);  // twice
        client.opened();
        client.say(Message{});
        is_dropped(client);
    }
    {
        Client client(server);  // what only servers say
        Message message;
        message.kind = Kind::result;
        client.say(message);
        is_dropped(client);
    }
    {
        Client client(server);  // an answer into a file
        client.opened();
        const OwnedFd file(::open("/dev/null", O_RDWR));
        REQUIRE(send(client.fd.get(), ask_name(Kind::register_app, "a"), file.get()) == 0);
        is_dropped(client);
    }
    {
        Client client(server);  // more while a flow is asked for: it is given up
        client.say(ask_flow("x"));
        client.say(ask_flow("y"));
        is_dropped(client);
        server.provider.next("allocate x");
        server.provider.next("cancel");
    }
    {
        Client client(server);  // no socket for the answer: nobody is told
        client.opened();
        client.say(ask_name(Kind::register_app, "a"));
        CHECK(server.api->counters().lost_answers == 1);
        CHECK(server.api->connections() == 2);
    }
    server.settle();
    CHECK(server.provider.asked.empty());
    good.has("still here");
    const OwnedFd empty = good.ask(ask_name(Kind::register_app, ""));
    CHECK(answer_on(empty.get()).code == EINVAL);
}

TEST_CASE("descriptors in heaps are closed") {
    const std::size_t heap = GENERATE(2, 10);
    Server server;
    Client client(server);
    client.opened();
    MessageBuffer buffer;
    const std::size_t size = encode(ask_name(Kind::register_app, "a"), buffer);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    OwnedFd ours(ends[0]);
    std::optional<OwnedFd> theirs(ends[1]);
    alignas(cmsghdr) char control[CMSG_SPACE(10 * sizeof(int))] = {};
    iovec piece = {buffer.data(), size};
    msghdr packet = {};
    packet.msg_iov = &piece;
    packet.msg_iovlen = 1;
    packet.msg_control = control;
    packet.msg_controllen = CMSG_SPACE(heap * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(heap * sizeof(int));
    for (std::size_t i = 0; i < heap; ++i)
        std::memcpy(CMSG_DATA(header) + i * sizeof(int), &ends[1], sizeof(int));
    REQUIRE(::sendmsg(client.fd.get(), &packet, 0) > 0);
    server.settle();
    CHECK(server.api->counters().dropped_malformed == 1);
    CHECK(server.provider.asked.empty());
    theirs.reset();
    CHECK(answer_on(ours.get()).code == kClosed);  // no copy of the other end is left
}

TEST_CASE("a server that ends says so to all") {
    std::optional<Server> server(std::in_place);
    Client open(*server);
    open.opened().has("a");
    Client asking(*server);
    asking.say(ask_flow("x"));
    server->provider.asked.clear();
    const OwnedFd end = open.ask(ask_name(Kind::register_app, "b"));
    server->api.reset();
    CHECK(answer_on(end.get()).code == kClosed);
    CHECK(open.incoming() == 0);
    CHECK(asking.answer() == kClosed);
    CHECK(server->provider.user == nullptr);
    CHECK(server->provider.asked.size() == 3);  // register b, unregister a, cancel
}

TEST_CASE("whatever clients do, nothing is left when they are gone") {
    ServerOptions options;
    options.limits = {.connections = 5, .registrations = 6, .flows = 6, .requests = 8};
    options.backlog = 3;
    options.answer_time = Duration::seconds(2);
    Server server(options);
    auto& provider = server.provider;
    Rng rng(4);
    std::vector<std::unique_ptr<Client>> clients;
    std::vector<OwnedFd> ends;
    std::vector<RegistrationId> names;
    std::uint64_t next = 1;
    const auto serve_one = [&] {
        if (provider.asked.empty()) return;
        const std::size_t which = rng.below(provider.asked.size());
        const auto asked = provider.asked[which];
        provider.asked.erase(provider.asked.begin() + static_cast<std::ptrdiff_t>(which));
        const bool flow = asked.what.starts_with("allocate") || asked.what == "accept";
        if (asked.what.starts_with("register")) names.emplace_back(asked.id);
        if (asked.what == "cancel" || asked.what == "deallocate") return;
        if (flow && rng.chance(0.7))
            provider.user->on_flow(asked.request, FlowId(next++), 1400);
        else
            provider.user->on_done(asked.request, asked.what == "unregister" || rng.chance(0.8)
                                                      ? 0
                                                      : EIO);
    };
    for (int i = 0; i < 20000; ++i) {
        const std::string name = "n" + std::to_string(rng.below(4));
        Client* const client = clients.empty() ? nullptr : clients[rng.below(clients.size())].get();
        switch (rng.below(9)) {
            case 0:
                if (clients.size() < 12) clients.push_back(std::make_unique<Client>(server));
                break;
            case 1:
                if (client)
                    send(client->fd.get(), rng.chance(0.6) ? Message{} : ask_flow(name), -1);
                break;
            case 2: case 3:
                if (client && server.api->connections() > 2) {
                    int pair[2];
                    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
                    ends.emplace_back(pair[0]);
                    const OwnedFd theirs(pair[1]);
                    const auto number = static_cast<std::uint32_t>(1 + rng.below(next + 10));
                    send(client->fd.get(),
                         rng.chance(0.4)   ? ask_name(Kind::register_app, name)
                         : rng.chance(0.5) ? ask_name(Kind::unregister_app, name)
                                           : answer_flow(number, rng.chance(0.7) ? 0 : 1),
                         theirs.get());
                }
                break;
            case 4:
                if (clients.size() > 3)
                    clients.erase(clients.begin() +
                                  static_cast<std::ptrdiff_t>(rng.below(clients.size())));
                break;
            case 5:
                if (!names.empty()) flow_comes(server, next++, names[rng.below(names.size())]);
                break;
            case 6:
                while (!provider.asked.empty() && rng.chance(0.9)) serve_one();
                break;
            case 7:
                if (!provider.sockets.empty()) {
                    provider.user->on_flow_ended(FlowId(provider.sockets.begin()->first));
                    provider.sockets.erase(provider.sockets.begin());
                }
                break;
            case 8: server.pass(Duration::milliseconds(static_cast<std::int64_t>(rng.below(3000))));
        }
        server.settle();
        if (ends.size() > 20) ends.clear();
    }
    CHECK(server.api->counters().flows > 40);
    CHECK(server.api->counters().expired_incoming > 0);
    CHECK(server.api->counters().refused_connections > 0);
    clients.clear();
    server.settle();
    while (!provider.asked.empty()) serve_one();
    for (const auto& [id, socket] : provider.sockets) provider.user->on_flow_ended(FlowId(id));
    CHECK(server.api->connections() == 0);
    CHECK(server.api->registrations() == 0);
    CHECK(server.api->flows() == 0);
    CHECK(server.api->pending() == 0);
    CHECK(server.api->unanswered() == 0);
}
