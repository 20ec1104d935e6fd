# The kernel bodies, compiled once per instruction set into objects of their own. kernels/cpu.c chooses among them at
# run time, so nothing here may leak into other files: no body defines a symbol without the suffix of its set.

file(GLOB bodies CONFIGURE_DEPENDS kernels/body_*.c)

set(weir_isa generic)
set(weir_isa_flags_generic "")
set(weir_isa_flags_avx2 -mavx2 -mfma -mf16c)
set(weir_isa_flags_avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND CMAKE_SIZEOF_VOID_P EQUAL 8 AND NOT WEIR_ISA STREQUAL "generic")
	list(APPEND weir_isa avx2 avx512)
else()
	target_compile_definitions(weir_objects PRIVATE WEIR_NO_X86_KERNELS) # see kernels/table.h
endif()

foreach(isa IN LISTS weir_isa)
	if(bodies)
		string(TOUPPER ${isa} ISA)
		add_library(weir_kernels_${isa} OBJECT ${bodies})
		weir_library_flags(weir_kernels_${isa})
		target_compile_definitions(weir_kernels_${isa} PRIVATE WEIR_KERN_${ISA}=1)
		target_compile_options(weir_kernels_${isa} PRIVATE ${weir_isa_flags_${isa}})
		if(WEIR_SANITIZE AND isa STREQUAL "generic" AND NOT weir_isa STREQUAL "generic")
			# The same bodies are instrumented in the other sets; these arrays of lanes take the compiler minutes.
			target_compile_options(weir_kernels_${isa} PRIVATE -fno-sanitize=all)
		endif()
		list(APPEND weir_object_targets weir_kernels_${isa})
	endif()
endforeach()
list(JOIN weir_isa ", " weir_isa_text)
message(STATUS "Kernels: ${weir_isa_text}")
