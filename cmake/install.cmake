# make install: headers, both libraries, the command, a CMake package and pkg-config files. All paths in them are
# relative to where they stand, so that an installed tree can be moved.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weir)

install(FILES ${WEIR_PUBLIC_HEADERS} ${WEIR_GENERATED}/version.h ${WEIR_GENERATED}/here.h ${WEIR_GENERATED}/here_nn.h
	DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir)

# Export sets apart: the static libraries ask for threads, the shared ones for nothing.
install(TARGETS weir EXPORT weirTargets)
install(TARGETS weir_static EXPORT weirStaticTargets)
install(EXPORT weirTargets NAMESPACE weir:: DESTINATION ${package_dir})
install(EXPORT weirStaticTargets NAMESPACE weir:: DESTINATION ${package_dir})
if(TARGET weir_io)
	install(TARGETS weir_io EXPORT weirIoTargets)
	install(TARGETS weir_io_static EXPORT weirIoStaticTargets)
	install(EXPORT weirIoTargets NAMESPACE weir:: DESTINATION ${package_dir})
	install(EXPORT weirIoStaticTargets NAMESPACE weir:: DESTINATION ${package_dir})
	install(FILES cmake/FindJansson.cmake DESTINATION ${package_dir})
endif()
if(TARGET weir_tool)
	install(TARGETS weir_tool)
endif()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(cmake/weirConfig.cmake.in ${PROJECT_BINARY_DIR}/weirConfig.cmake
	INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weirConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/weirConfig.cmake ${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
	DESTINATION ${package_dir})

# pkg-config: the prefix is the way up from the folder of the .pc file, unless libdir or includedir is absolute.
foreach(dir IN ITEMS LIBDIR INCLUDEDIR)
	set(WEIR_PC_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
	if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
		set(WEIR_PC_${dir} "${CMAKE_INSTALL_${dir}}")
	endif()
endforeach()
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
	set(WEIR_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
else()
	file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
	string(REGEX REPLACE "/$" "" up "${up}")
	set(WEIR_PC_PREFIX "\${pcfiledir}/${up}")
endif()
set(WEIR_PC_OPENMP "")
if(WEIR_OPENMP)
	set(WEIR_PC_OPENMP "${OpenMP_C_FLAGS} ")
endif()
configure_file(cmake/weir.pc.in ${PROJECT_BINARY_DIR}/weir.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weir.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET weir_io)
	configure_file(cmake/weir-io.pc.in ${PROJECT_BINARY_DIR}/weir-io.pc @ONLY)
	install(FILES ${PROJECT_BINARY_DIR}/weir-io.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
