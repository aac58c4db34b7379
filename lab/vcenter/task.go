package main

import (
	"log"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// failure is what a task ends with when it did not succeed.
type failure struct {
	fault   types.BaseMethodFault
	message string
}

// task shows a request as vCenter does: queued, running, then success or the fault. It bears the name of
// the method that was called, which clients look up.
func (vm *machine) task(name string, do func() *failure) types.ManagedObjectReference {
	task := simulator.CreateTask(vm.Self, name, nil)
	task.Info.Name = name
	vm.showTasks(append(vm.RecentTask, task.Self))
	vm.after(func() {
		update(task, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning},
			types.PropertyChange{Name: "info.startTime", Val: time.Now()})
		f := do()
		if f != nil {
			log.Printf("%s: %s: %s", vm.Name, name, f.message)
		}
		update(task, ending(f)...)
		vm.locked(func() {
			left := append([]types.ManagedObjectReference(nil), vm.RecentTask...)
			simulator.RemoveReference(&left, task.Self)
			vm.showTasks(left)
		})
	})
	return task.Self
}

func ending(f *failure) []types.PropertyChange {
	end := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
	if f == nil {
		return append(end, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
	}
	fault := types.LocalizedMethodFault{Fault: f.fault, LocalizedMessage: f.message}
	return append(end,
		types.PropertyChange{Name: "info.error", Val: fault},
		types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
}

func (vm *machine) showTasks(tasks []types.ManagedObjectReference) {
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "recentTask", Val: tasks}})
}

func update(task *simulator.Task, changes ...types.PropertyChange) {
	simulator.Map.WithLock(task, func() { simulator.Map.Update(task, changes) })
}

// failureOf takes over what one of the simulator's own methods came to.
func failureOf(answer soap.HasFault) *failure {
	if answer == nil {
		return nil
	}
	if f := answer.Fault(); f != nil {
		return &failure{f.VimFault().(types.BaseMethodFault), f.String}
	}
	ref, ok := returnedTask(answer)
	if !ok {
		return nil
	}
	if e := simulator.Map.Get(ref).(*simulator.Task).Info.Error; e != nil {
		return &failure{e.Fault, e.LocalizedMessage}
	}
	return nil
}

func returnedTask(answer soap.HasFault) (types.ManagedObjectReference, bool) {
	switch body := answer.(type) {
	case *methods.PowerOnVM_TaskBody:
		return body.Res.Returnval, true
	case *methods.PowerOffVM_TaskBody:
		return body.Res.Returnval, true
	case *methods.SuspendVM_TaskBody:
		return body.Res.Returnval, true
	case *methods.Destroy_TaskBody:
		return body.Res.Returnval, true
	case *methods.CloneVM_TaskBody:
		return body.Res.Returnval, true
	case *methods.CustomizeVM_TaskBody:
		return body.Res.Returnval, true
	case *methods.RelocateVM_TaskBody:
		return body.Res.Returnval, true
	}
	return types.ManagedObjectReference{}, false
}
