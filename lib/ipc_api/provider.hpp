#pragma once

#include <rina/api.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/types.hpp"
#include "ipc_api/flow_socket.hpp"
#include "rina/names.hpp"

// What stands between the applications' server and the IPC processes that serve it. All calls, both
// ways, are made by the control thread; an upcall may come from within a call.

namespace sluice::ipc_api {

using RequestId = StrongId<struct RequestTag, std::uint64_t>;            // the server's
using RegistrationId = StrongId<struct RegistrationTag, std::uint64_t>;  // the server's
using IncomingId = StrongId<struct IncomingTag, std::uint64_t>;          // the provider's
using FlowId = StrongId<struct FlowTag, std::uint64_t>;                  // the provider's

struct FlowRequest {
    rina::AppName local;   // may be empty on allocation
    rina::AppName remote;
    std::string dif;       // empty: the provider chooses
    rina_flow_spec spec;
};

class IpcUser {
  public:
    // The end of a request, good (0) or bad (an errno). Of one for a flow only if there is none.
    virtual void on_done(RequestId request, int error) = 0;
    // The flow of allocate_flow() or of an accepted respond_flow(). attach() follows from within,
    // or deallocate() if there is nobody left who wants it.
    virtual void on_flow(RequestId request, FlowId flow, std::uint32_t max_sdu) = 0;
    // Somebody wants a flow to a registered name: respond_flow() follows, once.
    virtual void on_incoming(IncomingId id, RegistrationId registration,
                             const FlowRequest& request) = 0;
    // It is not wanted any more: no respond_flow() after this.
    virtual void on_incoming_gone(IncomingId id) = 0;
    // Once for each flow that was attached, when nothing of it is left.
    virtual void on_flow_ended(FlowId flow) = 0;

  protected:
    ~IpcUser() = default;
};

class IpcProvider {
  public:
    virtual ~IpcProvider() = default;
    // Before anything else. nullptr: there will be no more calls, and none may be made.
    virtual void set_user(IpcUser* user) = 0;
    virtual void register_app(RequestId request, RegistrationId registration,
                              const rina::AppName& name, const std::string& dif) = 0;
    // Good for registrations only whose register_app() went well. Requests for flows that came in
    // for it and are not answered yet are refused by the server first.
    virtual void unregister_app(RequestId request, RegistrationId registration) = 0;
    virtual void allocate_flow(RequestId request, const FlowRequest& what) = 0;
    // Nobody waits for the flow any more. Its answer may still come.
    virtual void cancel_allocation(RequestId request) = 0;
    // Accepting is answered by on_flow() or on_done(), refusing by on_done(request, 0).
    virtual void respond_flow(RequestId request, IncomingId id, bool accept) = 0;
    // The application's end is on its way. The provider reads and writes from where it likes, and
    // deallocates the flow when the application has closed and what it wrote is delivered.
    virtual void attach(FlowId flow, FlowSocket socket) = 0;
    // Instead of attach().
    virtual void deallocate(FlowId flow) = 0;
};

}  // namespace sluice::ipc_api
