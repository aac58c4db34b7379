package main

import (
	"fmt"
	"log"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is a virtual machine whose power is that of a machine of the lab.
//
// Every change of power is a task that vCenter shows as running until the machine runtime has done it.
// Tasks of one virtual machine run one after the other, in the order they were asked for, so that the
// last request decides. The embedded value comes first: the simulator looks for it there.
type machine struct {
	simulator.VirtualMachine

	mirror *mirror
	image  string

	// What follows is guarded by the simulator's lock of this object, which it holds in every call.
	customization *types.CustomizationSpec
	defined       string
	last          chan struct{} // closed when the newest request has ended
	gone          bool

	requests int64 // counted when asked for
	ended    int64 // counted when done
}

func (vm *machine) id() string { return vm.Config.InstanceUuid }

func (vm *machine) locked(do func()) { simulator.Map.WithLock(vm.Self, do) }

// quiet tells whether nothing is under way, and how many requests there were.
func (vm *machine) quiet() (int, bool) {
	ended, requests := atomic.LoadInt64(&vm.ended), atomic.LoadInt64(&vm.requests)
	return int(requests), ended == requests && !vm.Config.Template
}

// after runs do once everything that was asked for before has ended. Call it with the lock held.
func (vm *machine) after(do func()) {
	before, done := vm.last, make(chan struct{})
	vm.last = done
	atomic.AddInt64(&vm.requests, 1)
	go func() {
		defer close(done)
		defer atomic.AddInt64(&vm.ended, 1)
		if before != nil {
			<-before
		}
		do()
	}()
}

// power is the whole of a change of power: is it allowed now, do it to the machine, then let the
// simulator change what it shows.
func (vm *machine) power(name string, allowed func(now types.VirtualMachinePowerState) bool,
	want types.VirtualMachinePowerState, act func(now types.VirtualMachinePowerState) error,
	show func() soap.HasFault) types.ManagedObjectReference {
	return vm.task(name, func() *failure {
		var now types.VirtualMachinePowerState
		var refusal *failure
		vm.locked(func() {
			now = vm.Runtime.PowerState
			if refusal = vm.unavailable(); refusal == nil && !allowed(now) {
				refusal = &failure{
					&types.InvalidPowerState{RequestedState: want, ExistingState: now},
					fmt.Sprintf("The attempted operation cannot be performed in the current state (%s).", now),
				}
			}
		})
		if refusal != nil {
			return refusal
		}
		if err := act(now); err != nil {
			return &failure{&types.GenericVmConfigFault{Reason: err.Error()}, err.Error()}
		}
		var shown *failure
		vm.locked(func() { shown = failureOf(show()) })
		return shown
	})
}

// unavailable says why nothing can be done to this virtual machine at all.
func (vm *machine) unavailable() *failure {
	if vm.gone {
		return &failure{&types.ManagedObjectNotFound{Obj: vm.Self}, "The object has already been deleted."}
	}
	host := simulator.Map.Get(*vm.Runtime.Host).(*simulator.HostSystem)
	if host.Runtime.ConnectionState != types.HostSystemConnectionStateConnected {
		return &failure{&types.HostNotConnected{}, fmt.Sprintf("Unable to communicate with the remote host %s.", host.Name)}
	}
	return nil
}

const (
	on        = types.VirtualMachinePowerStatePoweredOn
	off       = types.VirtualMachinePowerStatePoweredOff
	suspended = types.VirtualMachinePowerStateSuspended
)

func is(wanted types.VirtualMachinePowerState) func(types.VirtualMachinePowerState) bool {
	return func(now types.VirtualMachinePowerState) bool { return now == wanted }
}

func isNot(unwanted types.VirtualMachinePowerState) func(types.VirtualMachinePowerState) bool {
	return func(now types.VirtualMachinePowerState) bool { return now != unwanted }
}

// PowerOnVMTask boots the machine, or wakes it when it was suspended.
func (vm *machine) PowerOnVMTask(ctx *simulator.Context, req *types.PowerOnVM_Task) soap.HasFault {
	if vm.Config.Template {
		return vm.VirtualMachine.PowerOnVMTask(ctx, req) // which refuses
	}
	ref := vm.power("PowerOnVM_Task", isNot(on), on, vm.start,
		func() soap.HasFault { return vm.VirtualMachine.PowerOnVMTask(ctx, req) })
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: ref}}
}

func (vm *machine) start(now types.VirtualMachinePowerState) error {
	if now == suspended {
		return vm.mirror.runtime.do("resume", vm.id())
	}
	var spec specification
	var err error
	vm.locked(func() { spec, err = vm.specification() })
	if err != nil {
		return err
	}
	if fresh := fmt.Sprint(spec); fresh != vm.defined {
		if err := vm.mirror.runtime.define(spec); err != nil {
			return err
		}
		vm.locked(func() { vm.defined = fresh })
	}
	return vm.mirror.runtime.do("boot", vm.id())
}

// PowerOffVMTask cuts the machine's power.
func (vm *machine) PowerOffVMTask(ctx *simulator.Context, req *types.PowerOffVM_Task) soap.HasFault {
	ref := vm.power("PowerOffVM_Task", isNot(off), off, vm.verb("halt"),
		func() soap.HasFault { return vm.VirtualMachine.PowerOffVMTask(ctx, req) })
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: ref}}
}

// SuspendVMTask freezes the machine.
func (vm *machine) SuspendVMTask(ctx *simulator.Context, req *types.SuspendVM_Task) soap.HasFault {
	ref := vm.power("SuspendVM_Task", is(on), suspended, vm.verb("suspend"),
		func() soap.HasFault { return vm.VirtualMachine.SuspendVMTask(ctx, req) })
	return &methods.SuspendVM_TaskBody{Res: &types.SuspendVM_TaskResponse{Returnval: ref}}
}

// ResetVMTask cuts the machine's power and boots it again.
func (vm *machine) ResetVMTask(_ *simulator.Context, _ *types.ResetVM_Task) soap.HasFault {
	again := func(types.VirtualMachinePowerState) error {
		if err := vm.mirror.runtime.do("halt", vm.id()); err != nil {
			return err
		}
		return vm.mirror.runtime.do("boot", vm.id())
	}
	ref := vm.power("ResetVM_Task", is(on), on, again, func() soap.HasFault { return nil })
	return &methods.ResetVM_TaskBody{Res: &types.ResetVM_TaskResponse{Returnval: ref}}
}

// ShutdownGuest asks the machine's own init to power off and, as in vCenter, does not wait for it.
func (vm *machine) ShutdownGuest(ctx *simulator.Context, req *types.ShutdownGuest) soap.HasFault {
	if vm.Runtime.PowerState != on {
		return &methods.ShutdownGuestBody{Fault_: simulator.Fault("", &types.InvalidPowerState{
			RequestedState: on, ExistingState: vm.Runtime.PowerState,
		})}
	}
	vm.after(func() {
		if err := vm.mirror.runtime.do("shutdown", vm.id()); err != nil {
			log.Printf("%s: %s", vm.Name, err)
			return
		}
		vm.locked(func() { vm.VirtualMachine.ShutdownGuest(ctx, req) })
	})
	return &methods.ShutdownGuestBody{Res: new(types.ShutdownGuestResponse)}
}

// DestroyTask removes the machine and its disk.
func (vm *machine) DestroyTask(ctx *simulator.Context, req *types.Destroy_Task) soap.HasFault {
	ref := vm.power("Destroy_Task", isNot(on), off, vm.verb("delete"), func() soap.HasFault {
		answer := vm.VirtualMachine.DestroyTask(ctx, req)
		if failureOf(answer) == nil {
			vm.gone = true
			vm.mirror.forget(vm.Self)
		}
		return answer
	})
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: ref}}
}

func (vm *machine) verb(verb string) func(types.VirtualMachinePowerState) error {
	return func(types.VirtualMachinePowerState) error { return vm.mirror.runtime.do(verb, vm.id()) }
}

// CloneVMTask makes a virtual machine of ours; its machine is made when it is first powered on.
func (vm *machine) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	// The simulator derives the identity from the file's name, which a later machine may bear again.
	config := types.VirtualMachineConfigSpec{}
	if req.Spec.Config != nil {
		config = *req.Spec.Config
	}
	if config.InstanceUuid == "" {
		config.InstanceUuid = uuid.New().String()
	}
	req.Spec.Config = &config
	// It also hands its own devices on to the clone, network card address and all: give it copies.
	own := vm.Config.Hardware.Device
	copied, err := copyDevices(own)
	if err != nil {
		return &methods.CloneVM_TaskBody{Fault_: simulator.Fault(err.Error(), &types.InvalidState{})}
	}
	vm.Config.Hardware.Device = copied
	answer := vm.VirtualMachine.CloneVMTask(ctx, req)
	vm.Config.Hardware.Device = own
	if failureOf(answer) == nil {
		ref, _ := returnedTask(answer)
		result := simulator.Map.Get(ref).(*simulator.Task).Info.Result
		vm.mirror.adopt(result.(types.ManagedObjectReference), vm.image)
	}
	return answer
}

// ReconfigVMTask takes a key that is set twice for a change, where the simulator would keep both.
func (vm *machine) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	answer := vm.VirtualMachine.ReconfigVMTask(ctx, req)
	vm.Config.ExtraConfig = newest(vm.Config.ExtraConfig)
	return answer
}

// CustomizeVMTask also keeps the specification: the machine is made from it.
func (vm *machine) CustomizeVMTask(req *types.CustomizeVM_Task) soap.HasFault {
	answer := vm.VirtualMachine.CustomizeVMTask(req)
	if failureOf(answer) == nil {
		vm.customization = &req.Spec
	}
	return answer
}

// RelocateVMTask changes where the virtual machine is said to be; its machine runs on.
func (vm *machine) RelocateVMTask(ctx *simulator.Context, req *types.RelocateVM_Task) soap.HasFault {
	source := *vm.Runtime.Host
	if req.Spec.Host != nil {
		if f := unusable(*req.Spec.Host); f != nil {
			ref := vm.task("RelocateVM_Task", func() *failure { return f })
			return &methods.RelocateVM_TaskBody{Res: &types.RelocateVM_TaskResponse{Returnval: ref}}
		}
	}
	answer := vm.VirtualMachine.RelocateVMTask(ctx, req)
	if target := *vm.Runtime.Host; failureOf(answer) == nil && target != source {
		// The simulator leaves both hosts' lists as they were.
		from := simulator.Map.Get(source).(*simulator.HostSystem)
		to := simulator.Map.Get(target).(*simulator.HostSystem)
		simulator.Map.RemoveReference(from, &from.Vm, vm.Self)
		simulator.Map.AddReference(to, &to.Vm, vm.Self)
	}
	return answer
}

func unusable(ref types.ManagedObjectReference) *failure {
	host, ok := simulator.Map.Get(ref).(*simulator.HostSystem)
	switch {
	case !ok:
		return &failure{&types.ManagedObjectNotFound{Obj: ref}, "There is no such host."}
	case host.Runtime.ConnectionState != types.HostSystemConnectionStateConnected:
		return &failure{&types.HostNotConnected{}, fmt.Sprintf("Unable to communicate with the remote host %s.", host.Name)}
	case host.Runtime.InMaintenanceMode:
		return &failure{&types.InvalidHostState{Host: &ref}, fmt.Sprintf("Host %s is in maintenance mode.", host.Name)}
	}
	return nil
}

// follow shows the state that the runtime reported, unless something was asked for since it was looked at.
func (vm *machine) follow(state types.VirtualMachinePowerState, requests int) {
	vm.locked(func() {
		now, quiet := vm.quiet()
		heard := vm.Runtime.ConnectionState == types.VirtualMachineConnectionStateConnected
		if vm.gone || !heard || !quiet || now != requests || state == "" || state == vm.Runtime.PowerState {
			return
		}
		log.Printf("%s: was %s, is %s by itself", vm.Name, vm.Runtime.PowerState, state)
		simulator.Map.Update(vm, []types.PropertyChange{
			{Name: "runtime.powerState", Val: state},
			{Name: "summary.runtime.powerState", Val: state},
		})
		if state == off {
			vm.mirror.tell(&types.VmPoweredOffEvent{VmEvent: types.VmEvent{Event: vm.about()}})
		}
	})
}

// about is where an event says that it happened.
func (vm *machine) about() types.Event {
	host := simulator.Map.Get(*vm.Runtime.Host).(*simulator.HostSystem)
	dc := simulator.Map.Any("Datacenter").(*simulator.Datacenter)
	named := func(name string) types.EntityEventArgument { return types.EntityEventArgument{Name: name} }
	return types.Event{
		Vm:         &types.VmEventArgument{EntityEventArgument: named(vm.Name), Vm: vm.Self},
		Host:       &types.HostEventArgument{EntityEventArgument: named(host.Name), Host: host.Self},
		Datacenter: &types.DatacenterEventArgument{EntityEventArgument: named(dc.Name), Datacenter: dc.Self},
	}
}

// connect shows whether vCenter hears of the virtual machine, if it is on that host.
func (vm *machine) connect(host types.ManagedObjectReference, state types.VirtualMachineConnectionState) {
	vm.locked(func() {
		if *vm.Runtime.Host == host && vm.Runtime.ConnectionState != state {
			simulator.Map.Update(vm, []types.PropertyChange{
				{Name: "runtime.connectionState", Val: state},
				{Name: "summary.runtime.connectionState", Val: state},
			})
		}
	})
}
